"""`kobune reservations` as a user calls it."""

import subprocess
import sys

import orjson


def kobune(*arguments):
    return subprocess.run([sys.executable, "-m", "kobune", *arguments], capture_output=True, text=True, timeout=60)


def test_text_names_each_deduction_and_what_is_left():
    found = kobune("reservations", "Standard_DS2_v2", "--kubernetes-version", "1.28", "--capacity-memory-ki", "7113660")
    assert found.returncode == 0
    for text in ("-614.4Mi", "memory.available<750Mi", "1900m", "4668348Ki"):
        assert text in found.stdout


def test_json_has_the_documented_members():
    found = orjson.loads(kobune("reservations", "Standard_D2s_v3", "-o", "json").stdout)
    assert list(found) == [
        "vmSize", "cores", "memoryGiB", "kubernetesVersion", "maxPods", "os", "cpu", "memory", "ephemeralStorage", "pods", "lines",
    ]  # fmt: skip
    assert found["cpu"] == {"capacityMillicores": 2000, "kubeReservedMillicores": 100, "allocatableMillicores": 1900}
    assert set(found["memory"]) == {"capacityKi", "kubeReservedMi", "evictionMi", "allocatableKi"}
    assert set(found["lines"][0]) == {"resource", "reason", "amount"}


def test_an_upgrade_is_compared():
    found = kobune(
        "reservations", "Standard_DS2_v2", "--kubernetes-version", "1.28", "--max-pods", "30", "--upgrade-to", "1.29"
    )
    assert "An upgrade from 1.28 to 1.29 gives pods" in found.stdout
    rows = orjson.loads(
        kobune("reservations", "Standard_DS2_v2", "--kubernetes-version", "1.28", "--max-pods", "30", "--upgrade-to", "1.29",
               "-o", "json").stdout
    )["allocatable"]  # fmt: skip
    # 25 % of 4 GiB and 20 % of 3 GiB and 750 Mi before; 20 Mi for each of 30 pods, 50 Mi and 100 Mi after.
    assert rows["memory"]["freed"] == 1024 * ((1638 + 750) - (650 + 100))
    assert rows["cpu"]["freed"] == 0


def test_bad_input_gets_one_sentence_and_exit_status_1():
    for arguments in (["Standard_Nope"], ["Standard_DS2_v2", "--kubernetes-version", "abc"], [],
                      ["Standard_DS2_v2", "--max-pods", "9999"], ["Standard_DS2_v2", "--capacity-memory-ki", "5"]):  # fmt: skip
        found = kobune("reservations", *arguments)
        assert found.returncode == 1
        assert found.stderr.startswith("kobune: ")
        assert len(found.stderr.strip().splitlines()) == 1
