//! The sockets of a world: the same ports as before where they are still free, and a Unix socket with a short path.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::TcpListener;

use super::info::WorldInfo;
use super::orchestrators;
use crate::sandbox::SandboxError;
use crate::sandbox::docker::engine::digest_of;

/// The longest path of a Unix socket, its final zero included (unix(7): 108 bytes), with room for a suffix.
const LONGEST_SOCKET: usize = 100;
/// The longest name of a socket in the folder, with its slash: PostgreSQL's with `.lock` behind it.
const LONGEST_NAME: usize = "/.s.PGSQL.5432.lock".len();

/// The open listeners of a world.
pub(super) struct Sockets {
    pub(super) load_balancer: TcpListener,
    pub(super) proof: TcpListener,
    pub(super) discovery_proof: TcpListener,
    pub(super) blue: TcpListener,
    pub(super) green: TcpListener,
    pub(super) chat: TcpListener,
    pub(super) redis: TcpListener,
    pub(super) prometheus: TcpListener,
    pub(super) kubernetes: TcpListener,
    pub(super) digitalocean: TcpListener,
    pub(super) messengers: Listeners,
    pub(super) orchestrators: orchestrators::Listeners,
    pub(super) control: TcpListener,
}

/// Those of the messengers beside the chat.
pub(super) struct Listeners {
    pub(super) pager: TcpListener,
    pub(super) sms: TcpListener,
    pub(super) mail: TcpListener,
    pub(super) tracker: TcpListener,
}

impl Sockets {
    /// Binds all of them, where `former` had them if possible.
    pub(super) async fn bind(former: Option<&WorldInfo>) -> Result<Self, SandboxError> {
        let at =
            |address: fn(&WorldInfo) -> &str| former.map(|info| WorldInfo::host_of(address(info)));
        Ok(Self {
            load_balancer: bind(at(|info| &info.load_balancer)).await?,
            proof: bind(at(|info| &info.proof)).await?,
            discovery_proof: bind(at(|info| &info.discovery_proof)).await?,
            blue: bind(at(|info| &info.blue)).await?,
            green: bind(at(|info| &info.green)).await?,
            chat: bind(at(|info| &info.chat)).await?,
            redis: bind(at(|info| &info.redis)).await?,
            prometheus: bind(at(|info| &info.prometheus)).await?,
            kubernetes: bind(at(|info| &info.kubernetes)).await?,
            digitalocean: bind(at(|info| &info.digitalocean)).await?,
            messengers: Listeners {
                pager: bind(at(|info| &info.pager)).await?,
                sms: bind(at(|info| &info.sms)).await?,
                mail: bind(at(|info| &info.mail)).await?,
                tracker: bind(at(|info| &info.tracker)).await?,
            },
            orchestrators: orchestrators::Listeners::bind(former).await?,
            control: bind(at(|info| &info.control)).await?,
        })
    }
}

pub(super) async fn bind(former: Option<&str>) -> Result<TcpListener, SandboxError> {
    if let Some(address) = former
        && let Ok(listener) = TcpListener::bind(address).await
    {
        return Ok(listener);
    }
    let address = "127.0.0.1:0";
    TcpListener::bind(address)
        .await
        .map_err(|source| SandboxError::Listen { address: address.to_owned(), source })
}

/// The address of a listener.
pub(super) fn address(listener: &TcpListener) -> Result<String, SandboxError> {
    let address = listener
        .local_addr()
        .map_err(|source| SandboxError::Listen { address: "127.0.0.1".to_owned(), source })?;
    Ok(address.to_string())
}

/// The folder of the Unix sockets: the world's own, or a short private one when that is too deep.
pub(super) fn sockets_folder(dir: &Path) -> Result<PathBuf, SandboxError> {
    let fits = |folder: &Path| folder.as_os_str().len() + LONGEST_NAME < LONGEST_SOCKET;
    if fits(dir) {
        return Ok(dir.to_owned());
    }
    let name = format!("rollback-{}", &digest_of(&dir.to_string_lossy())[..12]);
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let base = runtime
        .filter(|base| base.is_dir() && fits(&base.join(&name)))
        .unwrap_or_else(|| PathBuf::from("/tmp"));
    let folder = base.join(name);
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(SandboxError::file("make the folder", &folder)(error));
        }
        _ => {}
    }
    // In a folder that everybody may write to, somebody else could have been first.
    let found = fs::symlink_metadata(&folder).map_err(SandboxError::file("look at", &folder))?;
    let private = found.is_dir()
        && found.uid() == rustix::process::getuid().as_raw()
        && found.permissions().mode() & 0o777 == 0o700;
    if !private {
        return Err(SandboxError::Process(format!(
            "use {}: it is not a private folder of this user",
            folder.display()
        )));
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_world_gets_short_private_sockets() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(sockets_folder(dir.path()).unwrap(), dir.path());
        let deep = dir.path().join("a".repeat(60)).join("b".repeat(60));
        let folder = sockets_folder(&deep).unwrap();
        assert!(folder.as_os_str().len() + LONGEST_NAME < LONGEST_SOCKET, "{}", folder.display());
        assert_eq!(sockets_folder(&deep).unwrap(), folder);
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        fs::remove_dir(&folder).unwrap();
    }
}
