//! Who else writes to a workload: a GitOps controller puts back what a rollback changes, within minutes.

use super::workload::Workload;

/// Signs on an object itself: name of a label or an annotation, and whose it is.
const SIGNS: [(&str, &str); 4] = [
    // <https://argo-cd.readthedocs.io/en/stable/user-guide/resource_tracking/>
    ("argocd.argoproj.io/tracking-id", "Argo CD"),
    ("argocd.argoproj.io/instance", "Argo CD"),
    // <https://fluxcd.io/flux/components/kustomize/kustomizations/>
    ("kustomize.toolkit.fluxcd.io/name", "Flux"),
    ("helm.toolkit.fluxcd.io/name", "Flux"),
];
/// Field managers of the controllers.
const MANAGERS: [(&str, &str); 4] = [
    ("argocd-controller", "Argo CD"),
    ("argocd-application-controller", "Argo CD"),
    ("kustomize-controller", "Flux"),
    ("helm-controller", "Flux"),
];
/// Flux leaves objects alone that say so
/// (<https://fluxcd.io/flux/components/kustomize/kustomizations/#controlling-the-apply-behavior-of-resources>).
const FLUX_SWITCH: &str = "kustomize.toolkit.fluxcd.io/reconcile";

/// The GitOps controller that owns a workload, and by what it shows: `Argo CD (argocd.argoproj.io/tracking-id)`.
pub(super) fn owner(workload: &Workload) -> Option<String> {
    let switched_off = workload.annotation(FLUX_SWITCH) == Some("disabled");
    let carries = |name: &str| workload.label(name).or_else(|| workload.annotation(name)).is_some();
    let sign = SIGNS.iter().find(|(sign, _)| carries(sign));
    let manager =
        || MANAGERS.iter().find(|(name, _)| workload.managers().any(|manager| manager == *name));
    let (sign, owner) = sign.or_else(manager)?;
    (!(switched_off && *owner == "Flux")).then(|| format!("{owner} ({sign})"))
}

/// What that means, as the end of a sentence about a change; empty when nobody owns the workload.
pub(super) fn warning(workload: &Workload) -> String {
    match owner(workload) {
        None => String::new(),
        Some(owner) => {
            format!("; {owner} owns it and will put its own state back unless it is suspended")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::workload::{Kind, Target};
    use super::*;

    fn seen(metadata: &Value) -> Option<String> {
        let target = Target { kind: Kind::Deployment, namespace: "n".into(), name: "a".into() };
        owner(&Workload::of(&target, json!({ "metadata": metadata })))
    }

    #[test]
    fn controllers_show_by_their_marks() {
        assert_eq!(seen(&json!({"labels": {"app": "a"}})), None);
        let argo = seen(&json!({"annotations": {"argocd.argoproj.io/tracking-id": "x"}}));
        assert_eq!(argo.as_deref(), Some("Argo CD (argocd.argoproj.io/tracking-id)"));
        let flux = seen(&json!({"labels": {"helm.toolkit.fluxcd.io/name": "x"}}));
        assert_eq!(flux.as_deref(), Some("Flux (helm.toolkit.fluxcd.io/name)"));
        let managed = seen(
            &json!({"managedFields": [{"manager": "kubectl"}, {"manager": "kustomize-controller"}]}),
        );
        assert_eq!(managed.as_deref(), Some("Flux (kustomize-controller)"));
    }

    #[test]
    fn what_flux_leaves_alone_is_not_its_own() {
        let labels = json!({"kustomize.toolkit.fluxcd.io/name": "x"});
        let off = json!({"kustomize.toolkit.fluxcd.io/reconcile": "disabled"});
        assert_eq!(seen(&json!({"labels": labels, "annotations": off})), None);
    }
}
