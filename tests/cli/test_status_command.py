"""`kobune status` tells how the processes of a cluster are."""

from kobune.aks.clusters import Cluster
from kobune.cli import status
from kobune.cli.output import Output
from kobune.host.layout import Layout
from kobune.host.spec import ProcessStatus, Spec, Status, write_spec, write_status


def test_what_dies_again_and_again_is_shown_with_the_pause_before_it_is_started(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(status, "is_served", lambda layout: True)
    cluster = Layout(tmp_path).cluster("one")
    write_spec(cluster, Spec(Cluster("one", "1.36.1", ()), api_port=6443, running=True))
    processes = (
        ProcessStatus("kube-apiserver-0", 17, 0, ""),
        ProcessStatus("kube-scheduler-0", 0, 7, "exit status 1", 6.4),
    )
    write_status(cluster, Status(running=True, processes=processes))
    status.command(state_dir=tmp_path, output=Output.TEXT)
    lines = capsys.readouterr().out.splitlines()
    assert "  one: kube-apiserver-0 runs as 17" in lines
    assert "  one: kube-scheduler-0 is down, restarted 7 times, last exit status 1, started again after 6.4 s" in lines
