"""The node's HTTPS server, under upstream's paths: logs, exec, attach, port-forward, pods, stats and metrics."""
