//! The plugin manager as the API server knows it: uploads, downloads and logs; and the folder that is loaded at start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::stream;
use quadrille_component::{LogLine, PluginLog, PluginManager, PluginUpload};
use quadrille_kit::Shutdown;
use quadrille_kit::clock::BoxFuture;
use quadrille_object::GroupResource;
use quadrille_registry::{Actor, Status};
use quadrille_server::{LogOptions, LogStream, PluginUploads, Upload};
use serde_json::Value;

use crate::cli::load::plugin_name;

/// More components than this are no folder of plugins.
const FOLDER_MAX: usize = 256;

/// A larger file is no component that would be taken.
const COMPONENT_BYTES_MAX: u64 = 64 << 20;

/// Hands the server's requests to the manager.
#[derive(Debug)]
pub(crate) struct HostPlugins {
    pub(crate) manager: PluginManager,
    pub(crate) shutdown: Shutdown,
}

impl PluginUploads for HostPlugins {
    fn upload(&self, upload: Upload) -> BoxFuture<'_, Result<Value, Status>> {
        let upload = PluginUpload {
            plugin: upload.plugin,
            component: upload.component,
            grant_all: upload.grant_all,
            keep_only: upload.keep_only,
            dry_run: upload.dry_run,
            actor: upload.actor,
        };
        Box::pin(self.manager.upload(upload))
    }

    fn download<'a>(
        &'a self,
        plugin: &'a str,
        digest: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Bytes, Status>> {
        Box::pin(async move { self.manager.download(plugin, digest).map(Bytes::from) })
    }

    fn log<'a>(
        &'a self,
        plugin: &'a str,
        options: LogOptions,
    ) -> BoxFuture<'a, Result<LogStream, Status>> {
        Box::pin(async move {
            let resource = GroupResource::new("quadrille.dev", "plugins");
            let log =
                self.manager.log(plugin).ok_or_else(|| Status::not_found(&resource, plugin))?;
            Ok(lines(log, options, self.shutdown.clone()))
        })
    }
}

/// Loads the components of a folder, each as the plugin of its file's name, with all that it asks for. One that is
/// refused is logged, and what ran under its name runs on.
///
/// # Errors
/// When the folder cannot be read, or has too much in it.
pub(crate) async fn load_folder(manager: &PluginManager, folder: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot read the plugins in {}", folder.display());
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            files.push(path);
        }
        ensure!(files.len() <= FOLDER_MAX, "{} has too many components", folder.display());
    }
    files.sort();
    for file in files {
        match load_file(manager, &file).await {
            Ok(name) => tracing::info!(plugin = name, file = %file.display(), "loaded"),
            Err(error) => tracing::error!(file = %file.display(), "not loaded: {error:#}"),
        }
    }
    Ok(())
}

async fn load_file(manager: &PluginManager, file: &Path) -> anyhow::Result<String> {
    let plugin = plugin_name(None, file)?;
    let meta = std::fs::metadata(file).context("cannot look at it")?;
    // Reading a pipe waits for whoever writes to it.
    ensure!(meta.is_file(), "it is not a file");
    let bytes = meta.len();
    ensure!(bytes <= COMPONENT_BYTES_MAX, "{bytes} bytes are more than {COMPONENT_BYTES_MAX}");
    let component = std::fs::read(file).context("cannot read it")?;
    let user = Actor { user: "system:quadrille".into(), ..Actor::default() };
    let upload = PluginUpload {
        plugin: plugin.clone(),
        component: component.into(),
        grant_all: true,
        keep_only: false,
        dry_run: false,
        actor: Actor { client: "quadrille".into(), ..user },
    };
    let loaded = manager.upload(upload).await;
    loaded.map_err(|status| anyhow::anyhow!("{}", status.message))?;
    Ok(plugin)
}

fn lines(log: Arc<PluginLog>, options: LogOptions, shutdown: Shutdown) -> LogStream {
    let newest = log.follow();
    let first = log.tail(options.tail.unwrap_or(usize::MAX));
    let seen = *newest.borrow();
    let begin = encode(&first);
    if !options.follow {
        return Box::pin(stream::iter([begin]));
    }
    let state = (log, newest, seen, Some(begin), shutdown);
    Box::pin(stream::unfold(state, |(log, mut newest, seen, begin, shutdown)| async move {
        if let Some(begin) = begin {
            return Some((begin, (log, newest, seen, None, shutdown)));
        }
        tokio::select! {
            changed = newest.changed() => changed.ok()?,
            () = shutdown.started() => return None,
        }
        let next = *newest.borrow_and_update();
        let new = encode(&log.since(seen));
        Some((new, (log, newest, next, None, shutdown)))
    }))
}

fn encode(lines: &[LogLine]) -> Bytes {
    let mut text = String::new();
    for line in lines {
        text.push_str(&line.to_string());
        text.push('\n');
    }
    text.into()
}
