"""Admission webhooks: judges and changers of writes that users bring along."""
