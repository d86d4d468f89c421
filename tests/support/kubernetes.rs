//! The real control plane that `scripts/servers` has started: its kubeconfig, with a context for each of four users.

use std::path::PathBuf;

use kube::config::Kubeconfig;
use secrecy::ExposeSecret as _;

use super::server_variable;

/// What the kubeconfig says.
pub(crate) struct ControlPlane {
    pub(crate) url: String,
    pub(crate) kubeconfig: PathBuf,
    /// Its authority's certificate, as PEM.
    pub(crate) authority: Vec<u8>,
    config: Kubeconfig,
}

impl ControlPlane {
    /// The one that runs.
    pub(crate) fn find() -> Self {
        let kubeconfig = PathBuf::from(server_variable(&["ROLLBACK_TEST_KUBECONFIG"]));
        let config = Kubeconfig::read_from(&kubeconfig).expect("the kubeconfig can be read");
        let cluster = config.clusters[0].cluster.as_ref().expect("it names a cluster");
        let authority = cluster.certificate_authority_data.as_ref().expect("with its authority");
        let authority = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            authority.trim_end(),
        );
        Self {
            url: cluster.server.clone().expect("it has an address"),
            kubeconfig,
            authority: authority.expect("a certificate"),
            config,
        }
    }

    /// The token of a user.
    pub(crate) fn token(&self, user: &str) -> String {
        let found = self.config.auth_infos.iter().find(|info| info.name == user);
        let info = found.and_then(|found| found.auth_info.as_ref()).expect("the user is known");
        info.token.as_ref().expect("by a token").expose_secret().to_owned()
    }
}
