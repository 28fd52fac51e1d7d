//! The plugin manager as the API server knows it: uploads, downloads and logs.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use quadrille_component::{LogLine, PluginLog, PluginManager, PluginUpload};
use quadrille_kit::Shutdown;
use quadrille_kit::clock::BoxFuture;
use quadrille_object::GroupResource;
use quadrille_registry::Status;
use quadrille_server::{LogOptions, LogStream, PluginUploads, Upload};
use serde_json::Value;

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
