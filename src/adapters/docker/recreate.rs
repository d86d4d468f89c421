//! A new container from an existing one: what its creator asked for, without what its image added.
//!
//! The engine merges an image's defaults (environment, command, health check, labels, …) into a container's settings. Copied as they
//! are, the old image's defaults would override the new image's own. So they are subtracted, as watchtower does
//! (`pkg/container`, `GetCreateConfig`); unlike there, anonymous volumes go along, by name.

use std::collections::HashMap;

use bollard::models::{
    ContainerConfig, ContainerCreateBody, ContainerInspectResponse, EndpointSettings, HealthConfig,
    HostConfig, ImageConfig, MountPoint, MountType, NetworkingConfig,
};

use super::container::short;
use super::project::{IMAGE, REPLACE};

/// What becomes of the volumes that the old container's image or creator left without a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Volumes {
    /// The new container takes them over: it takes the old one's place.
    Inherit,
    /// The new container gets its own: both exist side by side.
    Fresh,
}

/// How the new container differs from the old one.
pub(super) struct Successor<'a> {
    /// The id of its image.
    pub(super) image: &'a str,
    /// Its anonymous volumes.
    pub(super) volumes: Volumes,
    /// Labels to set.
    pub(super) labels: Vec<(&'a str, String)>,
}

/// What the engine needs to create a container.
#[derive(Debug)]
pub(super) struct Blueprint {
    /// The body of the request, with the first network.
    pub(super) body: Box<ContainerCreateBody>,
    /// Networks to join afterwards: engines before API 1.44 take just one in the request.
    pub(super) more_networks: Vec<(String, EndpointSettings)>,
}

/// Draws the new container. `old_image` is the configuration of the old one's image.
pub(super) fn blueprint(
    old: &ContainerInspectResponse,
    old_image: &ImageConfig,
    successor: &Successor<'_>,
) -> Blueprint {
    let id = old.id.as_deref().unwrap_or_default();
    let config = old.config.clone().unwrap_or_default();
    let mut host = old.host_config.clone().unwrap_or_default();
    let mounts = old.mounts.as_deref().unwrap_or_default();
    if successor.volumes == Volumes::Inherit {
        name_anonymous_volumes(&mut host, mounts);
    }
    let (first, more_networks) = networks(old, &host, successor.volumes);
    let mut body = own_settings(config, old_image, id, successor);
    if shares_network(&host) {
        body.hostname = None;
        body.domainname = None;
    }
    body.host_config = Some(host);
    body.networking_config =
        first.map(|first| NetworkingConfig { endpoints_config: Some(HashMap::from([first])) });
    Blueprint { body: Box::new(body), more_networks }
}

/// The settings that are the creator's and not the image's.
fn own_settings(
    config: ContainerConfig,
    image: &ImageConfig,
    id: &str,
    successor: &Successor<'_>,
) -> ContainerCreateBody {
    // A command belongs to its entry point: with another entry point it is the creator's in any case.
    let same_entrypoint = config.entrypoint.as_deref().unwrap_or_default()
        == image.entrypoint.as_deref().unwrap_or_default();
    let same_cmd = same_entrypoint && config.cmd == image.cmd;
    let volumes = match successor.volumes {
        Volumes::Inherit => None,
        Volumes::Fresh => without(config.volumes, image.volumes.as_ref()),
    };
    ContainerCreateBody {
        image: Some(successor.image.to_owned()),
        hostname: config.hostname.filter(|hostname| hostname != short(id)),
        domainname: config.domainname,
        user: unless_same(config.user, image.user.as_ref()),
        working_dir: unless_same(config.working_dir, image.working_dir.as_ref()),
        env: without(config.env, image.env.as_ref()),
        labels: Some(own_labels(config.labels.unwrap_or_default(), image, successor)),
        entrypoint: if same_entrypoint {
            None
        } else {
            config.entrypoint.or_else(|| Some(no_entrypoint()))
        },
        cmd: if same_cmd { None } else { config.cmd },
        healthcheck: own_health_check(config.healthcheck, image.healthcheck.as_ref()),
        exposed_ports: without(config.exposed_ports, image.exposed_ports.as_ref()),
        stop_signal: unless_same(config.stop_signal, image.stop_signal.as_ref()),
        shell: unless_same(config.shell, image.shell.as_ref()),
        stop_timeout: config.stop_timeout,
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        network_disabled: config.network_disabled,
        volumes,
        ..ContainerCreateBody::default()
    }
}

/// The request for no entry point. The engine shows it as none, and would take none for the image's own.
fn no_entrypoint() -> Vec<String> {
    vec![String::new()]
}

/// A health check is merged field by field, as in the engine's `daemon.merge`: who sets an interval alone has the image's command.
fn own_health_check(
    own: Option<HealthConfig>,
    image: Option<&HealthConfig>,
) -> Option<HealthConfig> {
    let Some(image) = image else { return own };
    let own = own?;
    let own = HealthConfig {
        test: unless_same(own.test, image.test.as_ref()),
        interval: unless_same(own.interval, image.interval.as_ref()),
        timeout: unless_same(own.timeout, image.timeout.as_ref()),
        retries: unless_same(own.retries, image.retries.as_ref()),
        start_period: unless_same(own.start_period, image.start_period.as_ref()),
        start_interval: unless_same(own.start_interval, image.start_interval.as_ref()),
    };
    (own != HealthConfig::default()).then_some(own)
}

/// Compose recreates a container whose image label differs from what its file asks for, so the label must tell the truth.
fn own_labels(
    labels: HashMap<String, String>,
    image: &ImageConfig,
    successor: &Successor<'_>,
) -> HashMap<String, String> {
    let defaults = image.labels.clone().unwrap_or_default();
    let mut own: HashMap<String, String> = labels
        .into_iter()
        .filter(|(key, value)| defaults.get(key) != Some(value) && key != REPLACE)
        .collect();
    if let Some(label) = own.get_mut(IMAGE) {
        successor.image.clone_into(label);
    }
    own.extend(successor.labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    own
}

/// Turns volumes without a name into volumes with one, so that the new container mounts the same data.
fn name_anonymous_volumes(host: &mut HostConfig, mounts: &[MountPoint]) {
    let volumes = mounts.iter().filter(|mount| mount.typ.as_deref() == Some("volume"));
    for volume in volumes {
        let (Some(name), Some(target)) = (&volume.name, &volume.destination) else { continue };
        let asked = host.mounts.iter_mut().flatten().find(|mount| {
            mount.target.as_ref() == Some(target) && mount.typ == Some(MountType::VOLUME)
        });
        if let Some(asked) = asked {
            asked.source.get_or_insert_default();
            if asked.source.as_deref() == Some("") {
                asked.source = Some(name.clone());
            }
            continue;
        }
        let binds = host.binds.get_or_insert_default();
        let bound = |bind: &String| {
            let mut parts = bind.split(':');
            let first = parts.next();
            parts.next().or(first) == Some(target.as_str())
        };
        match binds.iter().position(bound) {
            Some(position) if binds[position].contains(':') => {}
            Some(position) => binds[position] = format!("{name}:{target}"),
            None => {
                let mode = if volume.rw == Some(false) { ":ro" } else { "" };
                binds.push(format!("{name}:{target}{mode}"));
            }
        }
    }
}

type Endpoint = (String, EndpointSettings);

/// The networks, the container's main one first. What the engine assigned by itself is left out: addresses, and the
/// short id among the aliases, which would pile up. Compose makes a container's name an alias, too, which is no neighbour's.
fn networks(
    old: &ContainerInspectResponse,
    host: &HostConfig,
    volumes: Volumes,
) -> (Option<Endpoint>, Vec<Endpoint>) {
    let short_id = short(old.id.as_deref().unwrap_or_default());
    let name = old.name.as_deref().unwrap_or_default().trim_start_matches('/');
    let keeps =
        |alias: &String| alias != short_id && (volumes == Volumes::Inherit || alias != name);
    let main = host.network_mode.as_deref().unwrap_or("default");
    if shares_network(host) || matches!(main, "host" | "none") {
        return (None, Vec::new());
    }
    let connected = old.network_settings.as_ref().and_then(|settings| settings.networks.clone());
    let mut endpoints: Vec<Endpoint> = connected
        .unwrap_or_default()
        .into_iter()
        // The default bridge takes no aliases and is joined by the network mode alone.
        .filter(|(name, _)| name != "bridge")
        .map(|(name, endpoint)| {
            let aliases =
                endpoint.aliases.map(|aliases| aliases.into_iter().filter(keeps).collect());
            let own = EndpointSettings {
                // A fixed address can belong to one of two neighbours only.
                ipam_config: endpoint.ipam_config.filter(|_| volumes == Volumes::Inherit),
                links: endpoint.links,
                driver_opts: endpoint.driver_opts,
                aliases,
                ..EndpointSettings::default()
            };
            (name, own)
        })
        .collect();
    endpoints.sort_by_key(|(name, _)| (name != main, name.clone()));
    if matches!(main, "default" | "bridge") {
        return (None, endpoints);
    }
    let mut endpoints = endpoints.into_iter();
    (endpoints.next(), endpoints.collect())
}

/// Whether the container lives in another container's network.
fn shares_network(host: &HostConfig) -> bool {
    host.network_mode.as_deref().is_some_and(|mode| mode.starts_with("container:"))
}

fn unless_same<T: PartialEq>(own: Option<T>, default: Option<&T>) -> Option<T> {
    own.filter(|own| Some(own) != default)
}

fn without(own: Option<Vec<String>>, defaults: Option<&Vec<String>>) -> Option<Vec<String>> {
    own.map(|own| {
        own.into_iter()
            .filter(|entry| !defaults.is_some_and(|defaults| defaults.contains(entry)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use bollard::models::{Mount, NetworkSettings};

    use super::*;

    const ID: &str = "0123456789abcdef";

    #[expect(clippy::unnecessary_wraps, reason = "the API's settings are all optional")]
    fn strings(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(|text| (*text).to_owned()).collect())
    }

    #[expect(clippy::unnecessary_wraps, reason = "the API's settings are all optional")]
    fn labels(pairs: &[(&str, &str)]) -> Option<HashMap<String, String>> {
        Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[expect(clippy::unnecessary_wraps, reason = "the API's settings are all optional")]
    fn health(command: &str) -> Option<HealthConfig> {
        Some(HealthConfig { test: strings(&["CMD", command]), ..HealthConfig::default() })
    }

    fn image() -> ImageConfig {
        ImageConfig {
            env: strings(&["PATH=/bin", "VERSION=2.0.0"]),
            cmd: strings(&["serve"]),
            healthcheck: health("/check"),
            labels: labels(&[("version", "2.0.0")]),
            working_dir: Some("/app".into()),
            ..ImageConfig::default()
        }
    }

    fn container() -> ContainerInspectResponse {
        ContainerInspectResponse {
            id: Some(ID.into()),
            config: Some(ContainerConfig {
                hostname: Some("0123456789ab".into()),
                env: strings(&["TOKEN=x", "PATH=/bin", "VERSION=2.0.0"]),
                cmd: strings(&["serve"]),
                healthcheck: health("/check"),
                working_dir: Some("/app".into()),
                labels: labels(&[
                    ("version", "2.0.0"),
                    ("team", "blue"),
                    (IMAGE, "sha256:old"),
                    (REPLACE, "web"),
                ]),
                ..ContainerConfig::default()
            }),
            host_config: Some(HostConfig {
                network_mode: Some("back".into()),
                ..HostConfig::default()
            }),
            ..ContainerInspectResponse::default()
        }
    }

    fn successor() -> Successor<'static> {
        Successor {
            image: "sha256:new",
            volumes: Volumes::Inherit,
            labels: vec![("added", "yes".into())],
        }
    }

    #[test]
    fn the_image_defaults_do_not_leak_and_the_creator_s_own_settings_stay() {
        let body = blueprint(&container(), &image(), &successor()).body;
        assert_eq!(body.env, strings(&["TOKEN=x"]));
        assert_eq!((body.cmd, body.healthcheck, body.working_dir), (None, None, None));
        assert_eq!(body.hostname, None, "the engine named it after the id");
        assert_eq!(body.image.as_deref(), Some("sha256:new"));
        let expected = labels(&[("team", "blue"), (IMAGE, "sha256:new"), ("added", "yes")]);
        assert_eq!(body.labels, expected);
    }

    #[test]
    fn an_own_command_and_health_check_stay() {
        let mut old = container();
        let config = old.config.as_mut().unwrap();
        config.cmd = strings(&["serve", "--debug"]);
        config.healthcheck = health("/own");
        config.hostname = Some("web".into());
        let body = blueprint(&old, &image(), &successor()).body;
        assert_eq!(body.cmd, strings(&["serve", "--debug"]));
        assert_eq!(body.healthcheck, health("/own"));
        assert_eq!(body.hostname.as_deref(), Some("web"));
    }

    #[test]
    fn a_changed_entry_point_keeps_the_command_even_when_it_equals_the_image_s() {
        let mut old = container();
        old.config.as_mut().unwrap().entrypoint = strings(&["/wrap"]);
        let body = blueprint(&old, &image(), &successor()).body;
        assert_eq!((body.entrypoint, body.cmd), (strings(&["/wrap"]), strings(&["serve"])));
    }

    #[test]
    fn an_entry_point_that_was_taken_away_stays_away() {
        let mut image = image();
        image.entrypoint = strings(&["/start"]);
        let body = blueprint(&container(), &image, &successor()).body;
        assert_eq!((body.entrypoint, body.cmd), (strings(&[""]), strings(&["serve"])));
    }

    #[test]
    fn a_health_check_with_an_interval_of_its_own_runs_the_new_image_s_command() {
        let mut old = container();
        let own = HealthConfig { interval: Some(1_000_000_000), ..health("/check").unwrap() };
        old.config.as_mut().unwrap().healthcheck = Some(own);
        let kept = blueprint(&old, &image(), &successor()).body.healthcheck.unwrap();
        assert_eq!((kept.test, kept.interval), (None, Some(1_000_000_000)));
    }

    fn volume(name: &str, target: &str) -> MountPoint {
        MountPoint {
            typ: Some("volume".into()),
            name: Some(name.into()),
            destination: Some(target.into()),
            rw: Some(true),
            ..MountPoint::default()
        }
    }

    #[test]
    fn anonymous_volumes_go_along_by_name_however_they_were_asked_for() {
        let mut old = container();
        old.mounts = Some(vec![
            volume("from-image", "/data"),
            volume("from-mount", "/cache"),
            volume("named", "/known"),
        ]);
        let host = old.host_config.as_mut().unwrap();
        host.binds = strings(&["named:/known", "/etc/hosts:/etc/hosts:ro"]);
        host.mounts = Some(vec![Mount {
            target: Some("/cache".into()),
            typ: Some(MountType::VOLUME),
            source: Some(String::new()),
            ..Mount::default()
        }]);
        let host = blueprint(&old, &image(), &successor()).body.host_config.unwrap();
        let expected = ["named:/known", "/etc/hosts:/etc/hosts:ro", "from-image:/data"];
        assert_eq!(host.binds, strings(&expected));
        assert_eq!(host.mounts.unwrap()[0].source.as_deref(), Some("from-mount"));
    }

    #[test]
    fn a_sibling_gets_volumes_of_its_own() {
        let mut old = container();
        old.mounts = Some(vec![volume("from-image", "/data")]);
        old.config.as_mut().unwrap().volumes = strings(&["/data", "/asked"]);
        let mut image = image();
        image.volumes = strings(&["/data"]);
        let fresh = Successor { volumes: Volumes::Fresh, ..successor() };
        let body = blueprint(&old, &image, &fresh).body;
        assert_eq!(body.volumes, strings(&["/asked"]));
        assert_eq!(body.host_config.unwrap().binds, None);
    }

    #[test]
    fn networks_keep_their_aliases_without_the_short_id_and_the_main_one_comes_first() {
        let mut old = container();
        old.name = Some("/green-web-1".into());
        let endpoint = |aliases: &[&str]| EndpointSettings {
            aliases: strings(aliases),
            ip_address: Some("10.0.0.2".into()),
            ..EndpointSettings::default()
        };
        let networks = HashMap::from([
            ("admin".to_owned(), endpoint(&["a"])),
            ("back".to_owned(), endpoint(&["web", "0123456789ab", "green-web-1"])),
        ]);
        old.network_settings =
            Some(NetworkSettings { networks: Some(networks), ..NetworkSettings::default() });
        let drawn = blueprint(&old, &image(), &successor());
        let first = drawn.body.networking_config.unwrap().endpoints_config.unwrap();
        assert_eq!(first["back"].aliases, strings(&["web", "green-web-1"]));
        assert_eq!(first["back"].ip_address, None);
        assert_eq!(drawn.more_networks.len(), 1);
        assert_eq!(drawn.more_networks[0].0, "admin");

        let fresh = Successor { volumes: Volumes::Fresh, ..successor() };
        let sibling = blueprint(&old, &image(), &fresh).body.networking_config.unwrap();
        assert_eq!(sibling.endpoints_config.unwrap()["back"].aliases, strings(&["web"]));
    }

    #[test]
    fn a_shared_network_forbids_a_hostname_and_endpoints() {
        let mut old = container();
        old.config.as_mut().unwrap().hostname = Some("web".into());
        old.host_config.as_mut().unwrap().network_mode = Some("container:abc".into());
        let drawn = blueprint(&old, &image(), &successor());
        assert_eq!(drawn.body.hostname, None);
        assert!(drawn.body.networking_config.is_none() && drawn.more_networks.is_empty());
    }
}
