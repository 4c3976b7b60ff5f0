//! Starting what clients may start.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};

use super::exposed::Exposures;
use super::options::StartOptions;
use super::result;
use crate::ctx::DbosCtx;
use crate::json::{self, Json};
use crate::prefer::{self, PreferWait};
use crate::problem::{self, Problem};

pub(super) async fn start(
    exposures: &Exposures,
    ctx: DbosCtx,
    name: &str,
    options: StartOptions,
    wait: PreferWait,
    request: Request,
) -> Result<Response, Problem> {
    let ctx = if exposures.key_required { ctx.require_key() } else { ctx };
    let starting = async {
        let exposed = exposures.get(name, &ctx).ok_or_else(|| Problem::of(problem::NOT_EXPOSED))?;
        exposed.check(&options, &exposures.allowed)?;
        // Cheap to refuse, so before the body is read.
        ctx.keyed()?;
        let body = json::text(request).await?;
        let started = exposed.start(ctx.clone(), body, options).await?;
        let looked = result::look(&ctx, &exposed.workflow, started.handle(), started.ended(), wait).await?;
        let mut response = match looked.found {
            Some(told) => (started.headers(), Json(told)).into_response(),
            None => started.into_response(),
        };
        prefer::applied(&mut response, looked.applied);
        Ok(response)
    };
    starting.await.map_err(|problem: Problem| problem.within(&ctx.seen))
}
