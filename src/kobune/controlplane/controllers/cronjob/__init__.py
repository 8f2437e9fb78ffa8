"""The CronJob controller: `cronjob.py` acts, `schedule.py` knows times."""
