//! A table of routes as a document.

use utoipa::ToSchema;
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::security::{SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, Info, OpenApi, Paths, Server};

use super::described::{Described, Schemas};
use super::{parameters, schemas};
use crate::routes::{Route, Verb};

/// What a document says beside its operations.
#[derive(Clone, Default)]
pub(crate) struct About {
    pub(crate) title: &'static str,
    pub(crate) description: &'static str,
    /// Ways to authenticate, any of which will do.
    pub(crate) security: Vec<(String, SecurityScheme)>,
}

impl About {
    /// The document of a table whose router is mounted at that path.
    pub(crate) fn document<O: Copy>(
        &self,
        table: &[Route<O>],
        describe: impl Fn(O) -> Described,
        mounted: &str,
    ) -> OpenApi {
        let requirements: Vec<_> = self
            .security
            .iter()
            .map(|(name, _)| SecurityRequirement::new::<_, [String; 0], _>(name, []))
            .collect();
        let mut components = Components::new();
        let mut problem = Schemas::new();
        schemas::Problem::schemas(&mut problem);
        problem.push((
            schemas::Problem::name().into_owned(),
            <schemas::Problem as utoipa::PartialSchema>::schema(),
        ));
        components.schemas.extend(problem);
        let mut paths = Paths::new();
        for row in table {
            let (operation, schemas) = describe(row.operation).at(row.path, &requirements);
            components.schemas.extend(schemas);
            paths.add_path_operation(parameters::template(row.path), vec![row.method.into()], operation);
        }
        for (name, scheme) in &self.security {
            components.add_security_scheme(name, scheme.clone());
        }
        let mut info = Info::new(self.title, env!("CARGO_PKG_VERSION"));
        info.description = Some(self.description.to_owned());
        let mut document = OpenApi::new(info, paths);
        document.components = Some(components);
        document.servers = Some(vec![server(mounted)]);
        document
    }
}

/// Where the operations' paths begin.
pub(super) fn server(mounted: &str) -> Server {
    Server::new(if mounted.is_empty() { "/" } else { mounted })
}

impl From<Verb> for HttpMethod {
    fn from(verb: Verb) -> Self {
        match verb {
            Verb::Get => Self::Get,
            Verb::Post => Self::Post,
        }
    }
}
