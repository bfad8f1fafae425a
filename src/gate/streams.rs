//! Answers and uploads that are still under way, so that they end with their session.
//!
//! One for each core, never locked. A stream costs nothing until it first makes somebody wait: an
//! answer that is there at once is never registered. When something was revoked, the core asks for
//! each that is registered whether its caller may still go on.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::task::Context;
use std::task::Waker;

use crate::authenticate::Identity;
use crate::authenticate::Judge;
use crate::body::Cut;

/// The streams of one core that somebody waits for.
#[derive(Debug)]
pub struct Streams {
    judge: Judge,
    open: RefCell<HashMap<u64, Open>>,
    opened: Cell<u64>,
    judged_at: Cell<u64>,
}

#[derive(Debug)]
struct Open {
    identity: Identity,
    waker: Waker,
    /// Why the caller may not go on, as the log calls it.
    ended: Option<&'static str>,
}

/// One stream of a known caller, for as long as it is under way.
#[derive(Debug)]
pub struct Lease {
    streams: Rc<Streams>,
    identity: Identity,
    place: Option<u64>,
}

/// Why a stream broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the caller may not go on")]
pub struct SessionEnded;

impl Streams {
    /// None, yet.
    pub fn new(judge: Judge) -> Self {
        Self {
            judge,
            open: RefCell::default(),
            opened: Cell::new(0),
            judged_at: Cell::new(0),
        }
    }

    /// Ends the streams of callers who may not go on. The core calls this several times a second.
    pub fn end_the_dead(&self) {
        let revision = self.judge.revision();
        if self.judged_at.replace(revision) == revision {
            return;
        }
        for open in self.open.borrow_mut().values_mut() {
            if open.ended.is_none() {
                open.ended = self.judge.ends(&open.identity);
                if open.ended.is_some() {
                    open.waker.wake_by_ref();
                }
            }
        }
    }
}

impl Lease {
    /// For a stream of this caller.
    pub fn new(streams: &Rc<Streams>, identity: &Identity) -> Self {
        Self {
            streams: Rc::clone(streams),
            identity: identity.clone(),
            place: None,
        }
    }

    /// The stream makes somebody wait: he is woken when the caller may not go on any more. Says why,
    /// where that is so, also where it was before anybody waited.
    pub fn wait(&mut self, context: &Context<'_>) -> Option<&'static str> {
        let Streams {
            judge,
            open,
            opened,
            ..
        } = &*self.streams;
        let place = *self
            .place
            .get_or_insert_with(|| opened.replace(opened.get() + 1));
        let mut open = open.borrow_mut();
        let open = open.entry(place).or_insert_with(|| Open {
            ended: judge.ends(&self.identity),
            identity: self.identity.clone(),
            waker: context.waker().clone(),
        });
        open.waker.clone_from(context.waker());
        open.ended
    }

    /// For the body of a request.
    pub fn into_cut(mut self) -> Cut {
        Box::new(move |context| self.wait(context).is_some())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.streams.open.borrow_mut().remove(&place);
        }
    }
}
