//! The kinds of objects that the server knows.

/// A kind of objects, as discovery has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resource {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) plural: &'static str,
    pub(super) kind: &'static str,
    pub(super) short: &'static str,
    pub(super) namespaced: bool,
    /// Whether its objects have a generation, which counts changes of what is wanted.
    pub(super) counted: bool,
    pub(super) subresources: &'static [&'static str],
}

const fn cluster(plural: &'static str, kind: &'static str, short: &'static str) -> Resource {
    Resource { namespaced: false, ..namespaced("", "v1", plural, kind, short) }
}

const fn namespaced(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    short: &'static str,
) -> Resource {
    Resource {
        group,
        version,
        plural,
        kind,
        short,
        namespaced: true,
        counted: false,
        subresources: &[],
    }
}

const fn workload(
    plural: &'static str,
    kind: &'static str,
    short: &'static str,
    subresources: &'static [&'static str],
) -> Resource {
    Resource { counted: true, subresources, ..namespaced("apps", "v1", plural, kind, short) }
}

const SCALED: &[&str] = &["status", "scale"];
const WITH_STATUS: &[&str] = &["status"];
const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) static NAMESPACES: Resource =
    Resource { subresources: WITH_STATUS, ..cluster("namespaces", "Namespace", "ns") };
pub(super) static NODES: Resource =
    Resource { subresources: WITH_STATUS, ..cluster("nodes", "Node", "no") };
pub(super) static PODS: Resource =
    Resource { subresources: WITH_STATUS, ..namespaced("", "v1", "pods", "Pod", "po") };
pub(super) static DEPLOYMENTS: Resource = workload("deployments", "Deployment", "deploy", SCALED);
pub(super) static REPLICA_SETS: Resource = workload("replicasets", "ReplicaSet", "rs", SCALED);
pub(super) static STATEFUL_SETS: Resource = workload("statefulsets", "StatefulSet", "sts", SCALED);
pub(super) static DAEMON_SETS: Resource = workload("daemonsets", "DaemonSet", "ds", WITH_STATUS);
pub(super) static REVISIONS: Resource =
    namespaced("apps", "v1", "controllerrevisions", "ControllerRevision", "");
pub(super) static LEASES: Resource = namespaced("coordination.k8s.io", "v1", "leases", "Lease", "");
pub(super) static ROLES: Resource = namespaced(RBAC, "v1", "roles", "Role", "");
pub(super) static BINDINGS: Resource = namespaced(RBAC, "v1", "rolebindings", "RoleBinding", "");
pub(super) static REVIEWS: Resource = Resource {
    namespaced: false,
    ..namespaced(
        "authorization.k8s.io",
        "v1",
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        "",
    )
};
/// What Argo Rollouts adds, by a definition of its own.
pub(super) static ROLLOUTS: Resource = Resource {
    group: "argoproj.io",
    version: "v1alpha1",
    ..workload("rollouts", "Rollout", "ro", WITH_STATUS)
};

pub(super) static ALL: [&Resource; 13] = [
    &NAMESPACES,
    &NODES,
    &PODS,
    &DEPLOYMENTS,
    &REPLICA_SETS,
    &STATEFUL_SETS,
    &DAEMON_SETS,
    &REVISIONS,
    &LEASES,
    &ROLES,
    &BINDINGS,
    &REVIEWS,
    &ROLLOUTS,
];

impl Resource {
    /// `deployments.apps`.
    pub(super) fn qualified(&self) -> String {
        match self.group {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// `apps/v1`.
    pub(super) fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// Whether somebody defined it, so that the server does not know its fields.
    pub(super) fn is_custom(&self) -> bool {
        *self == ROLLOUTS
    }
}
