"""HorizontalPodAutoscaler: how many replicas metrics ask for, how fast that may change, and the loop that sees to it."""
