//! Reloads that nobody waits for: by SIGHUP, and when a file changes that the policy is
//! made from.

use std::{
    cell::{Cell, RefCell},
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use super::{
    agent::{Agent, now},
    protocol::{RefusedReload, ReloadStatus, Reloaded, Reply},
    reload::Manner,
};
use crate::{
    files::{Seen, Trust},
    kernel::folders::{Folders, What},
    policy::{identity::exes::Presence, source::Source},
};

/// Writers are given so long to be done: until nothing happens for this time.
const QUIET: Duration = Duration::from_millis(500);
/// Writers that are never done are not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The files that a reload reads, and what is known of them.
#[derive(Default)]
pub struct FileKeeper {
    /// What the last attempt has read; there may be other things in the files by now.
    seen: RefCell<Seen>,
    /// Tells of changes; `None` if nobody asks for that, or it can't be had.
    folders: RefCell<Option<Rc<Folders>>>,
    /// [`Self::folders`] is another one.
    switched: Notify,
    /// Whether changes are to be taken up.
    is_on: Cell<bool>,
    /// Somebody may still write to them.
    is_settling: Cell<bool>,
    /// When to look at the files; `None` if nothing happened to them.
    due: Cell<Option<Instant>>,
    /// It was said that a confirmation is waited for.
    waits: Cell<bool>,
    /// Why changes are noticed late.
    problem: RefCell<Option<String>>,
    /// The last reload, if it was refused.
    refused: RefCell<Option<RefusedReload>>,
}

impl FileKeeper {
    /// An attempt has read `seen`.
    pub(super) fn note(&self, seen: Seen) {
        self.seen.replace(seen);
    }

    /// Watches what the last attempt has read, or nothing, if `is_on` says so.
    pub(super) fn watch(&self, is_on: bool, trust: Trust) {
        let was_on = self.is_on.replace(is_on);
        if !is_on {
            if self.folders.take().is_some() {
                self.switched.notify_one();
            }
            self.due.set(None);
            self.waits.set(false);
            self.problem.replace(None);
            return;
        }
        if !was_on {
            log::info!("profile, included files and config are watched");
        }
        self.watch_again();
        // What happened before the watch, and what mounts change, is nobody's news.
        let is_known = self.due.get().is_some() || self.is_settling.get();
        if !is_known && !self.seen.borrow().is_current(trust) {
            self.due.set(Some(Instant::now() + QUIET));
        }
    }

    fn watch_again(&self) {
        let known = self.folders.borrow().clone();
        let folders = match known {
            Some(folders) => Ok(folders),
            None => Folders::new(What::Contents).map(Rc::new),
        };
        let watched = folders.and_then(|folders| {
            let seen = self.seen.borrow();
            let paths = seen.paths().map(std::path::absolute);
            let paths: Vec<_> = paths.collect::<Result<_, _>>()?;
            let watched = folders.watch(paths.iter().map(PathBuf::as_path));
            if self.folders.borrow().is_none() {
                self.folders.replace(Some(folders));
                self.switched.notify_one();
            }
            watched
        });
        self.note_problem(watched.err().map(|error| error.to_string()));
    }

    fn note_problem(&self, problem: Option<String>) {
        if problem == *self.problem.borrow() {
            return;
        }
        match &problem {
            Some(problem) => log::error!("{}", unwatched(problem)),
            None => log::info!("profile, included files and config are watched again"),
        }
        self.problem.replace(problem);
    }

    /// Returns when something happened to the files, and their writers seem to be done.
    async fn changed(&self) {
        loop {
            let folders = self.folders.borrow().clone();
            let Some(folders) = folders else {
                self.switched.notified().await;
                continue;
            };
            let told = tokio::select! {
                told = folders.changed() => told,
                () = self.switched.notified() => continue,
            };
            self.is_settling.set(true);
            let until = Instant::now() + PATIENCE;
            let mut told = told.map(|()| true);
            while matches!(told, Ok(true)) && Instant::now() < until {
                told = match timeout(QUIET, folders.changed()).await {
                    Ok(more) => more.map(|()| true),
                    Err(_) => Ok(false),
                };
            }
            self.is_settling.set(false);
            if !self.is_on.get() {
                continue;
            }
            if let Err(error) = told {
                // Another one is made when it is looked after the next time.
                self.folders.replace(None);
                self.note_problem(Some(error.to_string()));
            }
            return;
        }
    }

    /// Whether the files are to be looked at, now or some time.
    pub(super) fn is_due(&self) -> bool {
        self.due.get().is_some()
    }

    /// What a reader could take for done, and isn't.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem.borrow().as_deref().map(unwatched)
    }

    /// How it is reported.
    pub(super) fn status(&self) -> ReloadStatus {
        ReloadStatus {
            watch: self.is_on.get(),
            waits_for_confirm: self.waits.get(),
            refused: self.refused.borrow().clone(),
        }
    }

    /// Remembers how a reload ended; a refusal counts from the first one on.
    pub(super) fn settle(&self, reason: Option<String>) {
        let mut refused = self.refused.borrow_mut();
        let before = refused.take();
        *refused = reason.map(|reason| RefusedReload {
            since: before.map_or_else(now, |before| before.since),
            reason,
        });
    }
}

fn unwatched(why: &str) -> String {
    format!(
        "reload: profile, included files and config can't be watched, so that one was changed is noticed within seconds only: {why}"
    )
}

/// What there is to read for `source` now, whatever comes of it.
pub(super) fn present(source: &Source) -> Seen {
    let seen = RefCell::default();
    // What is wrong with the files was said already.
    let _ = source.read_noting(&Presence, &seen);
    seen.into_inner()
}

impl Agent {
    /// Watches the files if the policy in force asks for that.
    pub(super) fn follow_files(&self) {
        if !self.is_detached() {
            let is_on = self.policy().config.reload.watch;
            self.files.watch(is_on, self.source.trust);
            self.has_deadline.notify_one();
        }
    }

    /// Waits for changes of the files, for ever.
    pub async fn watch_files(self: Rc<Self>) {
        loop {
            self.files.changed().await;
            self.files.due.set(Some(Instant::now()));
            self.tend_watched();
            self.has_deadline.notify_one();
        }
    }

    /// Looks at the files, whatever is told of them, and tries again to watch what can't
    /// be watched.
    pub fn look_at_files(&self) {
        if self.files.is_on.get() && !self.files.waits.get() {
            self.follow_files();
        }
    }

    /// Reloads if the files have changed, unless a change waits to be confirmed: that is
    /// decided first.
    pub fn tend_watched(&self) {
        let files = &self.files;
        let is_due = files.due.get().is_some_and(|due| due <= Instant::now());
        let is_pending = self.pending.borrow().is_some();
        let waits = is_pending && files.waits.get();
        if !is_due || self.is_detached() || waits {
            return;
        }
        if files.seen.borrow().is_current(self.source.trust) {
            // Links may lead elsewhere all the same.
            files.due.set(None);
            files.waits.set(false);
            return files.watch_again();
        }
        if is_pending {
            files.waits.set(true);
            return log::warn!(
                "profile, an included file or the config has changed; it is reloaded when it is decided whether the change in force is confirmed"
            );
        }
        files.due.set(None);
        files.waits.set(false);
        let policy = self.policy();
        let config = policy.files.config.first().map(|file| &file.path);
        if let Some(config) = config.filter(|path| files.seen.borrow_mut().misses(path)) {
            // Without it all would be as if nothing had ever been configured.
            let why = format!("the config {} is gone", config.display());
            log::error!("not reloaded, the old policy stays in force: {why}");
            files.settle(Some(why));
            return files.watch_again();
        }
        log::info!("profile, an included file or the config has changed");
        self.reload_and_log();
    }

    /// Like `portreeve reload`, with the outcome in the log.
    pub fn reload_and_log(&self) {
        let reloaded = match self.reload(Manner::default()) {
            Reply::Done(value) => {
                serde_json::from_value::<Reloaded>(value).map_err(|error| error.to_string())
            }
            Reply::Failed(why) => Err(why),
        };
        match reloaded {
            Ok(Reloaded {
                refused: None,
                generation,
                diff,
                dropped,
                ..
            }) => {
                log::info!(
                    "reloaded: generation {generation}, {} added, {} removed, {} changed",
                    diff.added.len(),
                    diff.removed.len(),
                    diff.changed.len()
                );
                if !dropped.is_empty() {
                    log::info!("changes that ended with it: {}", dropped.join(", "));
                }
                self.log_contradictions();
            }
            Ok(Reloaded {
                refused: Some(why),
                rendered,
                ..
            }) => {
                log::error!("not reloaded, the old policy stays in force: {why}\n{rendered}");
            }
            Err(why) => log::error!("not reloaded: {why}"),
        }
    }
}
