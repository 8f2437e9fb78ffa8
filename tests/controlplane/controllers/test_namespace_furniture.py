"""What every namespace is given: its default ServiceAccount and the cluster's CA."""

from kobune.controlplane.controllers.controller import Settings

ONLY = "serviceaccount-controller,root-ca-certificate-publisher-controller"


def test_every_namespace_has_its_default_account_and_the_root_ca(tell):
    async def story(world):
        await world.create("namespaces", {"metadata": {"name": "new"}}, "")
        await world.sleep(1)
        made = (
            await world.find("serviceaccounts", "default", "new"),
            await world.find("configmaps", "kube-root-ca.crt", "new"),
        )
        await world.delete("serviceaccounts", "default", "new")
        await world.patch("configmaps", "kube-root-ca.crt", {"data": {"ca.crt": "spoiled", "more": "x"}}, "new")
        await world.sleep(1)
        again = (
            await world.find("serviceaccounts", "default", "new"),
            await world.get("configmaps", "kube-root-ca.crt", "new"),
        )
        return made, again

    (account, ca), (account_again, ca_again) = tell(story, ONLY, settings=Settings(root_ca=b"PEM"))
    assert account
    assert account_again["metadata"]["uid"] != account["metadata"]["uid"]
    assert ca["data"] == ca_again["data"] == {"ca.crt": "PEM"}
    assert "kubernetes.io/description" in ca["metadata"]["annotations"]
