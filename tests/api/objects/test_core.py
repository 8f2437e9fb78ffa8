import msgspec
import pytest

from kobune.api.objects import core
from kobune.api.objects.meta import View


def decode(view, text):
    return msgspec.json.decode(text, type=view, strict=False)


def test_acronyms_are_read_as_the_wire_writes_them():
    pod = decode(
        core.Pod,
        b'{"spec":{"setHostnameAsFQDN":true,"hostPID":true,"hostIPC":true},'
        b'"status":{"hostIP":"10.0.0.1","podIP":"10.1.0.2","podIPs":[{"ip":"10.1.0.2"}],"qosClass":"Burstable",'
        b'"containerStatuses":[{"name":"a","imageID":"i","containerID":"c"}]}}',
    )
    assert (pod.spec.set_hostname_as_fqdn, pod.spec.host_pid, pod.spec.host_ipc) == (True, True, True)
    assert (pod.status.host_ip, pod.status.pod_ip, pod.status.pod_ips[0].ip) == ("10.0.0.1", "10.1.0.2", "10.1.0.2")
    assert pod.status.qos_class == "Burstable"
    assert (pod.status.container_statuses[0].image_id, pod.status.container_statuses[0].container_id) == ("i", "c")
    node = decode(core.Node, b'{"status":{"daemonEndpoints":{"kubeletEndpoint":{"Port":10250}}}}')
    assert node.status.daemon_endpoints.kubelet_endpoint.port == 10250


def test_a_port_by_name_stays_text():
    assert decode(core.ServicePort, b'{"port":1,"targetPort":"5"}').target_port == "5"
    assert decode(core.ServicePort, b'{"port":1,"targetPort":5}').target_port == 5


@pytest.mark.parametrize(
    ("phase", "deleted", "active", "finished"),
    [("Pending", False, True, False), ("Running", True, False, False), ("Failed", False, False, True)],
)
def test_a_pod_counts_while_it_lives(phase, deleted, active, finished):
    meta = b'"metadata":{"deletionTimestamp":"2026-01-02T03:04:05Z"},' if deleted else b""
    pod = decode(core.Pod, b'{%b"status":{"phase":"%b"}}' % (meta, phase.encode()))
    assert (pod.is_active, pod.is_finished) == (active, finished)


def test_views_stay_out_of_the_cyclic_collector():
    """Caches hold hundreds of thousands of them."""
    assert not any(view.__struct_config__.gc for view in View.__subclasses__())
