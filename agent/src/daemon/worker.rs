//! Threads with an event loop of their own, for what must not keep the agent's waiting.

use std::{convert::Infallible, future::Future, io, thread};

use tokio::{sync::oneshot, task::LocalSet};

/// Such a thread; it ends when this is dropped.
pub struct Worker {
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Worker {
    /// A thread called `name` that does `work`, until that is over or what it was given is
    /// told that it has to be.
    ///
    /// # Errors
    ///
    /// If there can't be another thread, or event loop.
    pub fn start<W, F>(name: &str, work: W) -> io::Result<Self>
    where
        W: FnOnce(oneshot::Receiver<Infallible>) -> F + Send + 'static,
        F: Future<Output = ()>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(2)
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            LocalSet::new().block_on(&runtime, work(stopped));
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name(name.into()).spawn(run)?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Whether the thread is there no more.
    pub fn has_ended(&self) -> bool {
        self.thread
            .as_ref()
            .is_none_or(thread::JoinHandle::is_finished)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its work is written so that it waits for nothing then.
            let _ = thread.join();
        }
    }
}
