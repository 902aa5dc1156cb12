//! The agent's side of the executables that jobs are defined by: what they are in
//! the policy in force, and when that changes.

use std::{
    cell::{Ref, RefCell},
    collections::HashSet,
    future,
    path::Path,
    time::Duration,
};

use crate::{
    kernel::{
        executables::{Change, Executables, make_room},
        folders::{Folders, What},
        identify::Identifier,
    },
    policy::{build::Policy, identity::exes::Inode},
};

/// How long changes may take that belong together.
const SETTLING: Duration = Duration::from_millis(50);

/// The executables of the policy in force.
pub struct ExecutableKeeper {
    identifier: Identifier,
    in_force: RefCell<Executables>,
    folders: Option<Folders>,
    /// Why changes are noticed late.
    unwatched: RefCell<Option<String>>,
    /// Why not all of them are recognised.
    problem: RefCell<Option<String>>,
}

impl ExecutableKeeper {
    /// Knows no executable yet.
    pub fn new(identifier: Identifier) -> Self {
        make_room();
        let keeper = Self {
            identifier,
            in_force: RefCell::default(),
            folders: None,
            unwatched: RefCell::default(),
            problem: RefCell::default(),
        };
        match Folders::new(What::Names) {
            Ok(folders) => Self {
                folders: Some(folders),
                ..keeper
            },
            Err(error) => {
                keeper.note_unwatched(Some(error.to_string()));
                keeper
            }
        }
    }

    /// Takes over what a predecessor recognised, `known`: files that were replaced
    /// and still run.
    pub fn recover(&self, policy: &Policy, known: &HashSet<Inode>) {
        let recovered = Executables::recover(&self.identifier, paths(policy), known);
        self.in_force.replace(recovered);
    }

    /// Looks at the executables of `policy`, and watches them from now on.
    pub fn look(&self, policy: &Policy) -> Executables {
        // First, so that no change can go unseen between the two.
        self.watch(policy);
        Executables::look(&self.identifier, paths(policy), &self.in_force.borrow())
    }

    /// Watches the executables of `policy`.
    pub fn watch(&self, policy: &Policy) {
        if let Some(folders) = &self.folders {
            let problem = folders.watch(paths(policy)).err();
            self.note_unwatched(problem.map(|error| error.to_string()));
        }
    }

    /// `executables` are those of the policy in force. What it no longer names may
    /// be freed.
    pub fn settle(&self, executables: Executables, problem: Option<String>) {
        self.in_force.replace(executables);
        let news = problem
            .as_ref()
            .filter(|_| problem != *self.problem.borrow());
        if let Some(problem) = news {
            log::error!("not every executable is recognised:\n{problem}");
        }
        self.problem.replace(problem);
    }

    /// What `executables` have that is not in force.
    pub fn changes(&self, executables: &Executables) -> Vec<Change> {
        executables.changes_since(&self.in_force.borrow())
    }

    /// The executables of the policy in force.
    pub fn in_force(&self) -> Ref<'_, Executables> {
        self.in_force.borrow()
    }

    /// Returns when there may be a change, and the others that come with it are made.
    pub async fn changed(&self) {
        let Some(folders) = &self.folders else {
            return future::pending().await;
        };
        let mut told = folders.changed().await.map(|()| true);
        if told.is_ok() {
            tokio::time::sleep(SETTLING).await;
            told = folders.take();
        }
        if let Err(error) = told {
            self.note_unwatched(Some(error.to_string()));
            future::pending().await
        }
    }

    /// What a reader could take for done, and isn't.
    pub fn problems(&self) -> Vec<String> {
        let unwatched = self.unwatched.borrow();
        let unwatched = unwatched.iter().map(|why| unwatched_text(why));
        let problem = self.problem.borrow();
        let problem = problem.iter();
        let problem = problem.map(|why| format!("executables: not all are recognised: {why}"));
        unwatched.chain(problem).collect()
    }

    fn note_unwatched(&self, problem: Option<String>) {
        let news = problem
            .as_ref()
            .filter(|_| problem != *self.unwatched.borrow());
        if let Some(problem) = news {
            log::warn!("{}", unwatched_text(problem));
        }
        self.unwatched.replace(problem);
    }
}

fn unwatched_text(why: &str) -> String {
    format!(
        "executables: their folders can't be watched, so that one was replaced is noticed within seconds only: {why}"
    )
}

fn paths(policy: &Policy) -> impl Iterator<Item = &Path> {
    policy.jobs.executables()
}
