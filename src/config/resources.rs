//! For what tokens of ours may be: the gateway, the `audience` of a route, the `resources` of a client.

use crate::config::Config;
use crate::domain::Resource;

/// The resources that any client may ask for.
#[derive(Clone, Debug)]
pub struct Resources {
    /// `public_url`: the gateway, and whatever is behind it.
    pub gateway: Resource,
    /// The `audience` of each route, once.
    pub of_routes: Vec<Resource>,
}

/// There is no such resource, or it is another client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no such resource: it is `public_url`, the `audience` of a route or one of the \
     client's `resources`"
)]
pub struct UnknownResource;

impl Resources {
    /// What a token is for whose client asks for `name` (RFC 8707 §2): none is the gateway. `of_client`
    /// are the resources that this client may ask for beside those of routes.
    ///
    /// # Errors
    ///
    /// Where there is no such resource.
    pub fn find(
        &self,
        name: &str,
        of_client: &[Resource],
    ) -> Result<Option<Resource>, UnknownResource> {
        if self.gateway.is_called(name) {
            return Ok(None);
        }
        let mut all = self.of_routes.iter().chain(of_client);
        let found = all.find(|resource| resource.is_called(name));
        found.cloned().map(Some).ok_or(UnknownResource)
    }
}

impl Config {
    /// The resources that any client may ask for.
    pub fn resources(&self) -> Resources {
        let audiences = self
            .routes
            .iter()
            .filter_map(|route| route.audience.clone());
        Resources {
            gateway: self.gateway.resource(),
            of_routes: distinct(audiences),
        }
    }
}

fn distinct(resources: impl Iterator<Item = Resource>) -> Vec<Resource> {
    let mut distinct: Vec<_> = resources.collect();
    distinct.sort_unstable();
    distinct.dedup();
    distinct
}
