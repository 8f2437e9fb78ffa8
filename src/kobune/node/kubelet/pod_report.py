"""What is known of one pod on this node, and its telling: from the runtime's state to the status that is written."""

from datetime import timedelta

import msgspec

from kobune.api.errors import Json
from kobune.api.timestamps import parse_time
from kobune.node.kubelet.containers import log_directory
from kobune.node.kubelet.messages import termination_message
from kobune.node.kubelet.plan import Plan
from kobune.node.kubelet.pod import Pod, Resources, describe, field_path
from kobune.node.kubelet.probes import Probes
from kobune.node.kubelet.resize import Pending, reported_resources
from kobune.node.kubelet.runtime_state import PodState
from kobune.node.kubelet.services import Services
from kobune.node.kubelet.starting import message_file
from kobune.node.kubelet.status import Facts, Verdict, Waiting, render_status
from kobune.node.kubelet.status_writer import StatusWriter
from kobune.node.runtime.runtime import State


class PodReport:
    """The pod with the status we give it.

    `pod` is the newest version. The worker keeps `waiting` (why containers do not run), `applied` and `pending_resize`.
    """

    def __init__(self, services: Services, pod: Pod) -> None:
        self.pod = pod
        self.waiting: dict[str, Waiting] = {}
        self.applied: dict[str, Resources] = {}  # What running containers were given, by id.
        self.pending_resize: Pending | None = None
        self.writer = StatusWriter(
            services.client, pod.key, "" if pod.is_static else pod.uid, pod.status, clock=services.clock
        )
        self.start_time = parse_time(pod.status["startTime"]) if "startTime" in pod.status else services.clock.now()
        self._services = services
        # A pod that was finished before we came has had its last word.
        self._is_silent = pod.is_finished
        self._rendered: Json = {}
        self._messages: dict[str, str] = {}

    def update(self, pod: Pod) -> None:
        """A newer version of the pod. What we rendered last is newer than what the API server tells of the status."""
        self.pod = _with_status(pod, self._rendered, pod.status) if self._rendered else pod

    @property
    def state(self) -> PodState:
        """What the runtime has of the pod."""
        return self._services.state.pod(self.pod.uid)

    @property
    def ips(self) -> list[str]:
        """The pod's addresses. A stopped sandbox has lost them, but the pod's status keeps them."""
        state = self.state
        if self.pod.spec.host_network:
            ip = self._services.config.node_ip
            return [ip] if ip and state.sandbox is not None else []
        known = next((each.ips for each in state.sandboxes if each.ips), ())
        return list(known) or [each["ip"] for each in self.pod.status.get("podIPs") or ()]

    @property
    def ip(self) -> str:
        """The first address; empty when there is none."""
        return next(iter(self.ips), "")

    def deadline_in(self) -> float | None:
        """Seconds until activeDeadlineSeconds are over; None without such a limit."""
        seconds = self.pod.spec.active_deadline_seconds
        if seconds is None:
            return None
        return (self.start_time + timedelta(seconds=seconds) - self._services.clock.now()).total_seconds()

    def send(self, probes: Probes, *, verdict: Verdict | None, is_over: bool, lazy: bool) -> None:
        """Have the present status written.

        Args:
            is_over: nothing of the pod will run again.
            lazy: the write may wait a moment for a better status.
        """
        if self._is_silent:
            return
        services, state = self._services, self.state
        self.collect_messages()
        facts = Facts(
            state=state,
            now=services.clock.now(),
            start_time=self.start_time,
            runtime_name=services.runtime_name,
            waiting=self.waiting,
            ready=frozenset() if is_over else probes.ready,
            started=probes.started,
            messages=self._messages,
            host_ips=[services.config.node_ip] if services.config.node_ip else [],
            pod_ips=self.ips,
            ending=is_over,
            verdict=verdict,
            applied=self.applied,
            pending_resize=self.pending_resize,
        )
        status = self._rendered = render_status(self.pod, facts)
        # Later statuses build on this one, whatever the watch brings in between.
        self.pod = _with_status(self.pod, status, self.pod.status)
        self.writer.set(status, lazy=lazy)

    def collect_messages(self) -> None:
        """Read termination messages while their files are there."""
        for record in self.state.containers:
            if record.state is State.EXITED and record.id not in self._messages:
                file = message_file(self._services, self.pod.uid, record.name, record.attempt)
                logs = log_directory(self.pod, self._services.config) / record.name / f"{record.attempt}.log"
                self._messages[record.id] = termination_message(record, file, logs)

    def adopt_resources(self) -> None:
        """What containers that an earlier kubelet started were given is in the pod's status."""
        running = [each for each in self.state.containers if each.state is State.RUNNING]
        for record in running:
            if record.id not in self.applied:
                container = self.pod.find_container(record.name)
                known = reported_resources(self.pod, record.id) or (container.resources if container else None)
                if known is not None:
                    self.applied[record.id] = known
        for gone in self.applied.keys() - {each.id for each in running}:
            del self.applied[gone]

    def forget_message(self, container_id: str) -> None:
        self._messages.pop(container_id, None)

    def note_resting(self, plan: Plan) -> None:
        """Containers in back-off say so, once per pause with an event."""
        for name, rest in plan.resting.items():
            where = describe(self.pod)
            message = f"back-off {_spoken(rest.pause_seconds)} restarting failed container={name} pod={where}"
            if name not in self.waiting or self.waiting[name].message != message:
                words = f"Back-off restarting failed container {name} in pod {where}"
                self._services.recorder.warning(self.pod, "BackOff", words, field_path=field_path(self.pod, name))
            self.waiting[name] = Waiting("CrashLoopBackOff", message)


def _spoken(seconds: float) -> str:
    """`10s`, `1m20s`, `5m0s`, as Go prints a duration."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _with_status(pod: Pod, own: Json, told: Json) -> Pod:
    """The pod with our own status, and the conditions in `told` that are not ours."""
    ours = {each["type"] for each in own["conditions"]}
    others = [each for each in told.get("conditions") or () if each.get("type") not in ours]
    return msgspec.structs.replace(pod, status={**told, **own, "conditions": [*own["conditions"], *others]})
