"""The rows agree with what an upstream server of the same version says of itself."""

import pytest

from kobune.api.catalogue import KINDS, VERBS, Catalogue, Group, Kind, builtin, find_builtin, version_order
from kobune.api.schema import load_schemas

# What upstream 1.36 serves by default: group version, plural, kind, scope, verbs (*: all eight), short names, categories,
# subresources, storageVersionHash. Source: upstream api/discovery.
UPSTREAM_1_36 = """
v1                              bindings                          Binding                          namespaced create                                    -        -              - -
v1                              componentstatuses                 ComponentStatus                  cluster    get,list                                  cs       -              - -
v1                              configmaps                        ConfigMap                        namespaced *                                         cm       -              - qFsyl6wFWjQ=
v1                              endpoints                         Endpoints                        namespaced *                                         ep       -              - fWeeMqaN/OA=
v1                              events                            Event                            namespaced *                                         ev       -              - r2yiGXH7wu8=
v1                              limitranges                       LimitRange                       namespaced *                                         limits   -              - EBKMFVe6cwo=
v1                              namespaces                        Namespace                        cluster    create,delete,get,list,patch,update,watch ns       -              finalize,status Q3oi5N2YM8M=
v1                              nodes                             Node                             cluster    *                                         no       -              proxy,status XwShjMxG9Fs=
v1                              persistentvolumeclaims            PersistentVolumeClaim            namespaced *                                         pvc      -              status QWTyNDq0dC4=
v1                              persistentvolumes                 PersistentVolume                 cluster    *                                         pv       -              status HN/zwEC+JgM=
v1                              pods                              Pod                              namespaced *                                         po       all            attach,binding,ephemeralcontainers,eviction,exec,log,portforward,proxy,resize,status xPOwRZ+Yhw8=
v1                              podtemplates                      PodTemplate                      namespaced *                                         -        -              - LIXB2x4IFpk=
v1                              replicationcontrollers            ReplicationController            namespaced *                                         rc       all            scale,status Jond2If31h0=
v1                              resourcequotas                    ResourceQuota                    namespaced *                                         quota    -              status 8uhSgffRX6w=
v1                              secrets                           Secret                           namespaced *                                         -        -              - S6u1pOWzb84=
v1                              serviceaccounts                   ServiceAccount                   namespaced *                                         sa       -              token pbx9ZvyFpBE=
v1                              services                          Service                          namespaced *                                         svc      all            proxy,status 0/CO1lhkEBI=
admissionregistration.k8s.io/v1 mutatingadmissionpolicies         MutatingAdmissionPolicy          cluster    *                                         -        api-extensions - LYmCf+UMVdg=
admissionregistration.k8s.io/v1 mutatingadmissionpolicybindings   MutatingAdmissionPolicyBinding   cluster    *                                         -        api-extensions - 90V5FRZZ3Zg=
admissionregistration.k8s.io/v1 mutatingwebhookconfigurations     MutatingWebhookConfiguration     cluster    *                                         -        api-extensions - Sqi0GUgDaX0=
admissionregistration.k8s.io/v1 validatingadmissionpolicies       ValidatingAdmissionPolicy        cluster    *                                         -        api-extensions status 6OxvlMmQ6is=
admissionregistration.k8s.io/v1 validatingadmissionpolicybindings ValidatingAdmissionPolicyBinding cluster    *                                         -        api-extensions - v9715VZqakg=
admissionregistration.k8s.io/v1 validatingwebhookconfigurations   ValidatingWebhookConfiguration   cluster    *                                         -        api-extensions - B0wHjQmsGNk=
apiextensions.k8s.io/v1         customresourcedefinitions         CustomResourceDefinition         cluster    *                                         crd,crds api-extensions status jfWCUB31mvA=
apiregistration.k8s.io/v1       apiservices                       APIService                       cluster    *                                         -        api-extensions status InPBPD7+PqM=
apps/v1                         controllerrevisions               ControllerRevision               namespaced *                                         -        -              - 85nkx63pcBU=
apps/v1                         daemonsets                        DaemonSet                        namespaced *                                         ds       all            status dd7pWHUlMKQ=
apps/v1                         deployments                       Deployment                       namespaced *                                         deploy   all            scale,status 8aSe+NMegvE=
apps/v1                         replicasets                       ReplicaSet                       namespaced *                                         rs       all            scale,status P1RzHs8/mWQ=
apps/v1                         statefulsets                      StatefulSet                      namespaced *                                         sts      all            scale,status H+vl74LkKdo=
authentication.k8s.io/v1        selfsubjectreviews                SelfSubjectReview                cluster    create                                    -        -              - -
authentication.k8s.io/v1        tokenreviews                      TokenReview                      cluster    create                                    -        -              - -
authorization.k8s.io/v1         localsubjectaccessreviews         LocalSubjectAccessReview         namespaced create                                    -        -              - -
authorization.k8s.io/v1         selfsubjectaccessreviews          SelfSubjectAccessReview          cluster    create                                    -        -              - -
authorization.k8s.io/v1         selfsubjectrulesreviews           SelfSubjectRulesReview           cluster    create                                    -        -              - -
authorization.k8s.io/v1         subjectaccessreviews              SubjectAccessReview              cluster    create                                    -        -              - -
autoscaling/v1                  horizontalpodautoscalers          HorizontalPodAutoscaler          namespaced *                                         hpa      all            status qwQve8ut294=
autoscaling/v2                  horizontalpodautoscalers          HorizontalPodAutoscaler          namespaced *                                         hpa      all            status qwQve8ut294=
batch/v1                        cronjobs                          CronJob                          namespaced *                                         cj       all            status sd5LIXh4Fjs=
batch/v1                        jobs                              Job                              namespaced *                                         -        all            status mudhfqk/qZY=
certificates.k8s.io/v1          certificatesigningrequests        CertificateSigningRequest        cluster    *                                         csr      -              approval,status 95fRKMXA+00=
coordination.k8s.io/v1          leases                            Lease                            namespaced *                                         -        -              - gqkMMb/YqFM=
discovery.k8s.io/v1             endpointslices                    EndpointSlice                    namespaced *                                         -        -              - qgS0xkrxYAI=
events.k8s.io/v1                events                            Event                            namespaced *                                         ev       -              - r2yiGXH7wu8=
flowcontrol.apiserver.k8s.io/v1 flowschemas                       FlowSchema                       cluster    *                                         -        -              status GJVAJZSZBIw=
flowcontrol.apiserver.k8s.io/v1 prioritylevelconfigurations       PriorityLevelConfiguration       cluster    *                                         -        -              status Kir5PVfvNeI=
networking.k8s.io/v1            ingressclasses                    IngressClass                     cluster    *                                         -        -              - l/iqIbDgFyQ=
networking.k8s.io/v1            ingresses                         Ingress                          namespaced *                                         ing      -              status 39NQlfNR+bo=
networking.k8s.io/v1            ipaddresses                       IPAddress                        cluster    *                                         ip       -              - 3f/plJFChNE=
networking.k8s.io/v1            networkpolicies                   NetworkPolicy                    namespaced *                                         netpol   -              - YpfwF18m1G8=
networking.k8s.io/v1            servicecidrs                      ServiceCIDR                      cluster    *                                         -        -              status gNLvruQhW2g=
node.k8s.io/v1                  runtimeclasses                    RuntimeClass                     cluster    *                                         -        -              - WQTu1GL3T2Q=
policy/v1                       poddisruptionbudgets              PodDisruptionBudget              namespaced *                                         pdb      -              status EVWiDmWqyJw=
rbac.authorization.k8s.io/v1    clusterrolebindings               ClusterRoleBinding               cluster    *                                         -        -              - 48tpQ8gZHFc=
rbac.authorization.k8s.io/v1    clusterroles                      ClusterRole                      cluster    *                                         -        -              - bYE5ZWDrJ44=
rbac.authorization.k8s.io/v1    rolebindings                      RoleBinding                      namespaced *                                         -        -              - eGsCzGH6b1g=
rbac.authorization.k8s.io/v1    roles                             Role                             namespaced *                                         -        -              - 7FuwZcIIItM=
resource.k8s.io/v1              deviceclasses                     DeviceClass                      cluster    *                                         -        -              - Yk2PTc1Ybxk=
resource.k8s.io/v1              resourceclaims                    ResourceClaim                    namespaced *                                         -        -              status wgAZaHcZxUg=
resource.k8s.io/v1              resourceclaimtemplates            ResourceClaimTemplate            namespaced *                                         -        -              - TuzjC49aUfM=
resource.k8s.io/v1              resourceslices                    ResourceSlice                    cluster    *                                         -        -              - KsC072WgaEY=
scheduling.k8s.io/v1            priorityclasses                   PriorityClass                    cluster    *                                         pc       -              - 1QwjyaZjj3Y=
storage.k8s.io/v1               csidrivers                        CSIDriver                        cluster    *                                         -        -              - hL6j/rwBV5w=
storage.k8s.io/v1               csinodes                          CSINode                          cluster    *                                         -        -              - Pe62DkZtjuo=
storage.k8s.io/v1               csistoragecapacities              CSIStorageCapacity               namespaced *                                         -        -              - xeVl+2Ly1kE=
storage.k8s.io/v1               storageclasses                    StorageClass                     cluster    *                                         sc       -              - K+m6uJwbjGY=
storage.k8s.io/v1               volumeattachments                 VolumeAttachment                 cluster    *                                         -        -              status tJx/ezt6UDU=
storage.k8s.io/v1               volumeattributesclasses           VolumeAttributesClass            cluster    *                                         vac      -              - tIjydgKBC5w=
"""
CUSTOM = Kind("example.com", "v1beta1", "Ship", "ships", custom=True, storage="example.com/ships")


def words(text):
    return () if text == "-" else tuple(text.split(","))


def test_1_36_serves_what_upstream_serves_by_default():
    expected = {}
    for line in UPSTREAM_1_36.strip().splitlines():
        group_version, plural, name, scope, verbs, short, categories, parts, _ = line.split()
        verbs = VERBS if verbs == "*" else words(verbs)
        facts = (name, scope == "namespaced", verbs, words(short), words(categories), frozenset(words(parts)))
        expected[group_version, plural] = facts
    ours = {
        (kind.api_version, kind.plural): (
            kind.name, kind.namespaced, kind.verbs, kind.short, kind.categories, frozenset(kind.subresources)
        )
        for kind in builtin("1.36")
    }  # fmt: skip
    assert ours == expected


@pytest.mark.parametrize("minor", range(25, 38))
def test_a_version_has_a_schema_for_each_kind_it_serves_and_serves_each_stable_kind_it_has_a_schema_for(minor):
    schemas, kinds = load_schemas(f"1.{minor}"), builtin(f"1.{minor}")
    assert [kind for kind in kinds if not schemas.find(kind.group, kind.version, kind.name)] == []
    bodies = {kind.subresource(part).kind for kind in kinds for part in kind.subresources}
    meta = {"DeleteOptions", "WatchEvent", "Status", "APIGroup", "APIVersions"}
    stable = {
        (group, version, name)
        for group, version, name in schemas.kinds()
        if not name.endswith("List") and "beta" not in version and "alpha" not in version
    }
    unserved = {name for group, version, name in stable if kinds.find_kind(group, version, name) is None}
    assert unserved <= bodies | meta


def test_rows_are_unique():
    names = [(kind.group, kind.version, kind.name) for kind in KINDS]
    plurals = [(kind.group, kind.version, kind.plural) for kind in KINDS]
    assert len(set(names)) == len(set(plurals)) == len(KINDS)


@pytest.mark.parametrize(
    ("group", "name", "namespace", "key"),
    [
        ("", "Service", "default", "/registry/services/specs/default/x"),
        ("", "Endpoints", "default", "/registry/services/endpoints/default/x"),
        ("", "Node", "", "/registry/minions/x"),
        ("", "ReplicationController", "default", "/registry/controllers/default/x"),
        ("apps", "Deployment", "default", "/registry/deployments/default/x"),
        ("events.k8s.io", "Event", "default", "/registry/events/default/x"),
        ("networking.k8s.io", "Ingress", "default", "/registry/ingress/default/x"),
        ("coordination.k8s.io", "Lease", "kube-node-lease", "/registry/leases/kube-node-lease/x"),
        ("apiregistration.k8s.io", "APIService", "", "/registry/apiregistration.k8s.io/apiservices/x"),
        (
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            "",
            "/registry/apiextensions.k8s.io/customresourcedefinitions/x",
        ),
    ],
)
def test_keys_are_laid_out_as_upstreams(group, name, namespace, key):
    assert find_builtin(group, "v1", name).key(namespace, "x") == key


def test_no_two_kinds_share_a_folder_unless_they_are_versions_of_one():
    folders = {}
    for kind in KINDS:
        if kind.is_kept:
            folders.setdefault(kind.prefix, set()).add(kind.name)
    assert all(len(names) == 1 for names in folders.values())


@pytest.mark.parametrize(
    ("version", "kind", "stored"),
    [
        pytest.param("1.36", ("autoscaling", "v1", "HorizontalPodAutoscaler"), "autoscaling/v2", id="newer"),
        pytest.param("1.36", ("events.k8s.io", "v1", "Event"), "v1", id="another-group"),
        pytest.param("1.36", ("apps", "v1", "Deployment"), "apps/v1", id="the-only-one"),
        pytest.param(
            "1.36", ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"), "apiextensions.k8s.io/v1", id="not-served"
        ),
        pytest.param(
            "1.27", ("flowcontrol.apiserver.k8s.io", "v1beta3", "FlowSchema"), "flowcontrol.apiserver.k8s.io/v1beta3",
            id="not-yet-served",
        ),
        pytest.param(
            "1.30", ("flowcontrol.apiserver.k8s.io", "v1beta3", "FlowSchema"), "flowcontrol.apiserver.k8s.io/v1",
            id="served-by-now",
        ),
    ],
)  # fmt: skip
def test_versions_of_a_kind_are_stored_in_one(version, kind, stored):
    kinds = builtin(version)
    assert kinds.storage_version(kinds.find_kind(*kind)).api_version == stored


def test_subresources_come_with_their_version():
    assert builtin("1.32").find("", "v1", "pods").subresource("resize") is None
    assert builtin("1.33").find("", "v1", "pods").subresource("resize") is not None


def test_a_subresource_says_what_its_body_is():
    pods, nodes = find_builtin("", "v1", "Pod"), find_builtin("", "v1", "Node")
    eviction = pods.subresource("eviction")
    assert (eviction.group, eviction.version, eviction.kind, eviction.verbs) == (
        "policy",
        "v1",
        "Eviction",
        ("create",),
    )
    assert nodes.subresource("proxy").kind == "NodeProxyOptions"
    assert pods.subresource("scale") is None


def test_custom_kinds_come_and_go():
    kinds = builtin("1.36")
    before = kinds.generation
    kinds.add(CUSTOM)
    assert kinds.find("example.com", "v1beta1", "ships") is CUSTOM
    assert kinds.find_kind("example.com", "v1beta1", "Ship") is CUSTOM
    assert kinds.groups()[-1] == Group("example.com", ("v1beta1",))
    assert kinds.generation > before
    kinds.remove(CUSTOM)
    assert kinds.find("example.com", "v1beta1", "ships") is None
    assert "example.com" not in {group.name for group in kinds.groups()}


def test_a_kind_replaces_the_one_with_its_plural():
    kinds = Catalogue([CUSTOM])
    kinds.add(Kind("example.com", "v1beta1", "Vessel", "ships", custom=True))
    assert kinds.find_kind("example.com", "v1beta1", "Ship") is None


def test_versions_are_ordered_as_upstream_prefers_them():
    versions = ["foo10", "v1alpha1", "v2", "v10", "v1", "v11beta2", "v2beta1", "foo1", "v12alpha1"]
    expected = ["v10", "v2", "v1", "v11beta2", "v2beta1", "v12alpha1", "v1alpha1", "foo1", "foo10"]
    assert sorted(versions, key=version_order) == expected


def test_groups_are_in_upstreams_order():
    names = [group.name for group in builtin("1.36").groups()]
    assert names[:4] == ["apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io"]
    assert names[-2:] == ["resource.k8s.io", "flowcontrol.apiserver.k8s.io"]
    assert dict(builtin("1.36").groups())["autoscaling"] == ("v2", "v1")
