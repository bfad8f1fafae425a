//! A request as it arrives: read and cleaned before anything is awaited.
//!
//! A future keeps what it was given for as long as it lives, and hyper keeps room for one in every connection:
//! the request as the wire had it would be in there once for each step.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use http::Request;
use http::request::Parts;

use crate::body::ClientBody;
use crate::gate::Gate;
use crate::gate::described::Callers;
use crate::gate::described::Manner;
use crate::gate::inbound::Inbound;
use crate::gate::inbound::Malformed;
use crate::gate::inbound::Unclean;
use crate::gate::source::Connection;

/// What arrived. It is to be answered: [`Gate::answer`].
#[derive(Debug)]
pub enum Arrival {
    /// A request that can be read in one way only, cleaned.
    Request(Box<Inbound>),
    /// Somebody who may asks about a request of somebody else.
    Asks(Callers, Manner, Box<Parts>),
    /// No request that we would understand in one way only.
    Unreadable(Malformed, Box<Unclean>),
    /// A bug of ours, contained (SECURITY 55).
    Panicked,
}

impl Gate {
    /// Takes a request in.
    pub fn receive(&self, connection: &Connection, request: Request<ClientBody>) -> Arrival {
        let reading = AssertUnwindSafe(|| self.read(connection, request));
        catch_unwind(reading).unwrap_or(Arrival::Panicked)
    }

    fn read(&self, connection: &Connection, request: Request<ClientBody>) -> Arrival {
        if let Some(callers) = &self.callers
            && let Some(manner) = callers.manner(connection, &request)
        {
            let (parts, _) = request.into_parts();
            return Arrival::Asks(callers.clone(), manner, Box::new(parts));
        }
        match Inbound::new(connection, request, &self.trust, &self.request_ids) {
            Ok(inbound) => Arrival::Request(inbound),
            Err((malformed, unclean)) => Arrival::Unreadable(malformed, unclean),
        }
    }
}
