//! The router, made from one table: what is not in it cannot be reached, and nothing can stand in
//! it without saying who may use it.

mod methods;
mod parts;
pub(crate) mod table;

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use futures_util::FutureExt as _;
use tokio::time::timeout;

use crate::access::Role;
use crate::audit::{self, Trail};
use crate::problem::{Kind, Problem};
use crate::request::{WAIT_MAX, read_query};
use crate::service::App;

/// The parameter that shows a ticket instead of a key.
pub(crate) const TICKET: &str = "ticket";

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody who reaches the port.
    Public,
    /// Holders of a key with this role or a higher one.
    From(Role),
}

/// The method of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
}

/// One operation of the API: how it is reached, by whom, with what, and what it answers.
pub(crate) struct Route {
    pub(crate) verb: Verb,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) operation: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) parameters: &'static [Parameter],
    /// What a POST carries.
    pub(crate) body: Option<Body>,
    pub(crate) answers: &'static [Answer],
    /// What it leaves in the audit trail.
    pub(crate) audit: Trail,
    /// Problems beside those that every route, or every route of its kind, may answer with.
    pub(crate) problems: &'static [Kind],
    pub(crate) handler: fn() -> MethodRouter<App>,
}

/// A parameter of a route.
pub(crate) struct Parameter {
    pub(crate) place: Place,
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Path,
    Query,
    Header,
}

/// What a POST carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    /// Any JSON.
    Any(&'static str),
    /// JSON of this schema.
    Schema(&'static str),
}

/// An answer that is no problem.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) about: &'static str,
    pub(crate) content: Content,
}

/// What an answer holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    /// Nothing.
    Nothing,
    /// JSON of this schema.
    Schema(&'static str),
    /// Any JSON.
    Json,
    /// Something else.
    Text(&'static str),
}

impl Route {
    /// Every kind of problem that it may answer with.
    pub(crate) fn all_problems(&self) -> Vec<Kind> {
        let mut kinds = vec![Kind::WrongHost, Kind::Malformed, Kind::Internal, Kind::TimedOut];
        if let Access::From(_) = self.access {
            kinds.extend([Kind::Unauthenticated, Kind::TooManyRequests]);
        }
        if self.access > Access::From(Role::Viewer) {
            kinds.push(Kind::Forbidden);
        }
        if self.verb == Verb::Post {
            kinds.extend([Kind::NotJson, Kind::TooLarge, Kind::TooSlow]);
        }
        kinds.extend(self.problems);
        // What cannot be recorded is not carried out.
        if self.audit.action().is_some() && !kinds.contains(&Kind::StoreUnavailable) {
            kinds.push(Kind::StoreUnavailable);
        }
        kinds
    }
}

impl PartialOrd for Access {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        let rank = |access: &Self| match access {
            Self::Public => None,
            Self::From(role) => Some(*role),
        };
        rank(self).partial_cmp(&rank(other))
    }
}

/// The router of the API.
pub(crate) fn router(app: App) -> Router {
    let mut router = Router::new();
    for route in table::ROUTES {
        let guarded = (route.handler)().layer(from_fn_with_state((app.clone(), route), guard));
        router = router.route(route.path, guarded);
    }
    router
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(app.clone(), outermost))
        .with_state(app)
}

/// Checks who calls and whether the parameters are known, sees to the audit trail, and bounds the time
/// that the handler takes.
async fn guard(
    State((app, route)): State<(App, &'static Route)>,
    mut request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let response = match admit(&app, route, &mut request) {
        Ok(()) if route.audit.action().is_some() => {
            audit::carry_out(&app, route, request, next).await
        }
        Ok(()) => bounded(&app, next.run(request)).await,
        Err(problem) => {
            if problem.kind() == Kind::Forbidden {
                audit::refuse(&app, route, request, &problem).await;
            }
            problem.into_response()
        }
    };
    app.metrics().answered(route.operation, response.status(), begun.elapsed());
    response
}

/// The answer of a handler, or a problem when it takes too long.
pub(crate) async fn bounded(app: &App, handling: impl Future<Output = Response>) -> Response {
    let within = app.limits().request_within + WAIT_MAX;
    timeout(within, handling).await.unwrap_or_else(|_| {
        let detail = format!("no answer within {} s: try again", within.as_secs());
        Problem::new(Kind::TimedOut, detail).into_response()
    })
}

/// What a client gets whose request met a panic.
pub(crate) fn broken() -> Problem {
    Problem::new(Kind::Internal, "the request met a fault of this program; its log says more")
}

fn admit(app: &App, route: &Route, request: &mut Request) -> Result<(), Problem> {
    if let Access::From(role) = route.access {
        let shown = request.headers().get(header::AUTHORIZATION);
        let shown = shown.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let principal = match (shown, ticket(route, request)?) {
            (None, Some(ticket)) => app.ticketed(&ticket)?,
            (shown, _) => app.principal(shown)?,
        };
        app.count_request(&principal)?;
        let held = principal.role;
        request.extensions_mut().insert(principal);
        if held < role {
            let detail =
                format!("`{}` needs the role {role}: this key has {held}", route.operation);
            return Err(Problem::new(Kind::Forbidden, detail));
        }
    }
    let known = || route.parameters.iter().filter(|p| p.place == Place::Query).map(|p| p.name);
    for (name, value) in read_query(request.uri().query().unwrap_or_default())? {
        if !known().any(|known| known == name) {
            let names: Vec<_> = known().collect();
            let expected = match names.as_slice() {
                [] => "no parameter here".to_owned(),
                names => format!("no parameter beside {}", names.join(", ")),
            };
            return Err(Problem::field(&name, &value, &expected));
        }
    }
    Ok(())
}

/// The ticket that a request shows, where one is taken.
fn ticket(route: &Route, request: &Request) -> Result<Option<String>, Problem> {
    if !route.parameters.iter().any(|parameter| parameter.name == TICKET) {
        return Ok(None);
    }
    let query = read_query(request.uri().query().unwrap_or_default())?;
    Ok(query.into_iter().find(|(name, _)| name == TICKET).map(|(_, value)| value))
}

/// Around everything, the fallbacks too: the host, panics, and what every answer carries.
async fn outermost(State(app): State<App>, request: Request, next: Next) -> Response {
    let host = request.uri().host().or_else(|| request.headers().get(header::HOST)?.to_str().ok());
    let mut response = if app.answers_for(host) {
        match AssertUnwindSafe(next.run(request)).catch_unwind().await {
            Ok(response) => response,
            Err(_) => broken().into_response(),
        }
    } else {
        let host = host.unwrap_or_default();
        let expected = "localhost or an address of this machine, or a name listed under `hosts`";
        let detail = format!("`Host` is {host:?}: expected {expected}");
        Problem::new(Kind::WrongHost, detail).into_response()
    };
    for (name, value) in EVERY_ANSWER {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

const EVERY_ANSWER: [(HeaderName, HeaderValue); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
];

async fn unknown_route(request: Request) -> Problem {
    let path: String = request.uri().path().chars().take(64).collect();
    Problem::new(
        Kind::UnknownRoute,
        format!("there is nothing at {path:?}: /docs lists what there is"),
    )
}

async fn wrong_method(request: Request) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let shown: String = path.chars().take(64).collect();
    let detail = format!("{method} is not known at {shown:?}: /docs lists what is");
    let mut response = Problem::new(Kind::WrongMethod, detail).into_response();
    debug_assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    if let Some(allowed) = methods::allowed(&path) {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    response
}
