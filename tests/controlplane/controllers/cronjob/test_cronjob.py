from datetime import UTC, datetime

import msgspec

from kobune.controlplane.controllers.cronjob.cronjob import CronJob, plan

ONLY = "cronjob-controller,job-controller,ttl-after-finished-controller,garbage-collector-controller"


def cron_job(schedule="0 * * * *", name="tick", job=None, **spec):
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    return {
        "metadata": {"name": name},
        "spec": {"schedule": schedule, "jobTemplate": {"spec": {"template": template, **(job or {})}}, **spec},
    }


async def jobs(world):
    return sorted(each["metadata"]["name"] for each in await world.list("jobs"))


def reasons(events):
    return {event["reason"] for event in events}


HOUR = 3600


def test_a_job_is_made_at_each_time_and_history_is_kept_short(tell):
    async def story(world):
        world.finish_after = 10.0
        await world.create("cronjobs", cron_job())
        await world.sleep(6.5 * HOUR)
        return await world.list("jobs"), (await world.get("cronjobs", "tick"))["status"], await world.list("events")

    made, status, events = tell(story, ONLY)
    # The story begins on 2026-01-05 at 8, so the last Job is that of 14 o'clock.
    minutes = 1767621600 // 60
    assert sorted(each["metadata"]["name"] for each in made) == [f"tick-{minutes - 60 * back}" for back in (2, 1, 0)]
    assert status["lastScheduleTime"] == "2026-01-05T14:00:00Z"
    assert status["lastSuccessfulTime"].startswith("2026-01-05T14:00:1")
    assert "active" not in status
    annotations = made[0]["metadata"]["annotations"]
    assert annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"].startswith("2026-01-05T")
    assert made[0]["metadata"]["ownerReferences"][0]["kind"] == "CronJob"
    assert {"SuccessfulCreate", "SawCompletedJob", "SuccessfulDelete"} <= reasons(events)


def test_forbid_waits_for_the_job_before(tell):
    async def story(world):
        await world.create("cronjobs", cron_job(concurrencyPolicy="Forbid"))
        await world.sleep(3.5 * HOUR)
        return await jobs(world), reasons(await world.list("events")), (await world.get("cronjobs", "tick"))["status"]

    made, why, status = tell(story, ONLY)
    assert len(made) == 1
    assert "JobAlreadyActive" in why
    assert len(status["active"]) == 1


def test_replace_ends_the_job_before(tell):
    async def story(world):
        await world.create("cronjobs", cron_job(concurrencyPolicy="Replace"))
        await world.sleep(3.5 * HOUR)
        return await jobs(world), len((await world.get("cronjobs", "tick"))["status"]["active"])

    made, active = tell(story, ONLY)
    assert len(made) == active == 1


def test_allow_lets_them_run_side_by_side(tell):
    async def story(world):
        await world.create("cronjobs", cron_job())
        await world.sleep(3.5 * HOUR)
        return await jobs(world)

    assert len(tell(story, ONLY)) == 3


def test_a_suspended_schedule_makes_up_for_one_missed_time_only(tell):
    async def story(world):
        world.finish_after = 1.0
        await world.create("cronjobs", cron_job(suspend=True))
        await world.sleep(5.5 * HOUR)
        before = await jobs(world)
        await world.patch("cronjobs", "tick", {"spec": {"suspend": False}})
        await world.sleep(60)
        return before, len(await jobs(world))

    assert tell(story, ONLY) == ([], 1)


def test_what_is_past_its_starting_deadline_is_not_started(tell):
    async def story(world):
        await world.create("cronjobs", cron_job(suspend=True, startingDeadlineSeconds=600))
        await world.sleep(1.5 * HOUR)
        await world.patch("cronjobs", "tick", {"spec": {"suspend": False}})
        await world.sleep(60)
        early = await jobs(world)
        await world.sleep(HOUR)
        return early, len(await jobs(world))

    assert tell(story, ONLY) == ([], 1)


def test_finished_jobs_go_when_their_time_to_live_is_over(tell):
    async def story(world):
        world.finish_after = 1.0
        await world.create("cronjobs", cron_job(job={"ttlSecondsAfterFinished": 300}))
        await world.sleep(HOUR + 200)
        before = await jobs(world)
        await world.sleep(200)
        return len(before), await jobs(world)

    assert tell(story, ONLY) == (1, [])


def test_schedules_follow_their_time_zone(tell):
    async def story(world):
        await world.create("cronjobs", cron_job("0 18 * * *", timeZone="Asia/Tokyo"))
        await world.sleep(2 * HOUR)
        return (await world.get("cronjobs", "tick"))["status"]

    assert tell(story, ONLY)["lastScheduleTime"] == "2026-01-05T09:00:00Z"


def test_a_day_of_hourly_schedules_ends_alike_byte_by_byte_each_time_it_is_told(tell):
    """Clock and seeds are all that decides: names, uids, times and resourceVersions of every object are the same."""

    async def story(world):
        world.finish_after = 30.0
        for number in range(2):
            await world.create("cronjobs", cron_job(name=f"c{number}"))
        await world.sleep(24 * HOUR)
        kinds = ("cronjobs", "jobs", "pods", "events", "services")
        return [await world.client.call("GET", world.path(plural)) for plural in kinds], len(world.transport.log)

    first, second = tell(story, ONLY), tell(story, ONLY)
    assert first == second
    assert b"c1-29461380" in first[0][1]  # The last one, of seven in the morning.


def test_a_zone_within_the_schedule_is_warned_of():
    item = msgspec.json.decode(msgspec.json.encode(cron_job("TZ=UTC 0 * * * *")), type=CronJob)
    ((kind, reason, message),) = plan(item, [], [], datetime(2026, 1, 5, tzinfo=UTC)).says
    assert (kind, reason) == ("Warning", "UnsupportedSchedule")
    assert message.startswith('CRON_TZ or TZ used in schedule "TZ=UTC 0 * * * *" is not officially supported')
