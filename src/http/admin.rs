//! `/v1/tokens`, `/v1/users`, `/v1/sign-in-links` and `/v1/claim-code`.

use std::time::Duration;

use axum::Extension;
use axum::Json;
use axum::extract::Request;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Deserialize;
use serde::Deserializer;
use serde_json::Value;
use serde_json::json;

use crate::base::limits::SIGN_IN_LINK_TTL;
use crate::base::limits::SIGN_IN_LINK_TTL_MAX;
use crate::base::redact::Redacted;
use crate::base::time;
use crate::front::body;
use crate::front::cookie;
use crate::front::gate::Peer;
use crate::front::path;
use crate::front::problem::Problem;
use crate::front::query;
use crate::node::Node;
use crate::node::access::Caller;
use crate::proto::scope::Scope;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenDocument {
    name: String,
    scopes: Vec<Scope>,
    ttl: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserDocument {
    password: Option<String>,
    #[serde(default, deserialize_with = "given")]
    scopes: Option<Vec<Scope>>,
}

/// A member that may be missing, but is no `null`.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Scope>>, D::Error> {
    Vec::deserialize(from).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordDocument {
    current: String,
    new: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkDocument {
    user: String,
    ttl: Option<String>,
}

fn check_scopes(mut scopes: Vec<Scope>) -> Result<Vec<Scope>, Problem> {
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.is_empty() {
        let known: Vec<_> = Scope::ALL.iter().map(|scope| scope.name()).collect();
        let detail = format!("scopes: name at least one of {}; nothing was changed", known.join(", "));
        return Err(Problem::unprocessable("out_of_range", detail));
    }
    Ok(scopes)
}

/// Reads documents of tokens and users, without a node.
///
/// # Errors
/// As `POST` and `PUT`.
pub fn read_documents(bytes: &[u8]) -> Result<(), Problem> {
    let user =
        body::from_json::<UserDocument>(bytes).and_then(|document| document.scopes.map(check_scopes).transpose());
    let _password: Result<PasswordDocument, _> = body::from_json(bytes);
    let token: TokenDocument = body::from_json(bytes)?;
    let _ttl_ms = token.ttl.as_deref().map(|ttl| query::ttl_ms("ttl", ttl)).transpose()?;
    check_scopes(token.scopes).and(user).map(|_scopes| ())
}

/// `GET /v1/tokens`.
pub async fn list_tokens(State(node): State<Node>) -> Json<Value> {
    std::future::ready(Json(json!({ "tokens": node.tokens() }))).await
}

/// `POST /v1/tokens`.
pub async fn add_token(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let (parts, body) = request.into_parts();
    let document: TokenDocument = body::document(&node, &parts.headers, body).await?;
    let ttl_ms = document.ttl.as_deref().map(|ttl| query::ttl_ms("ttl", ttl)).transpose()?;
    let scopes = check_scopes(document.scopes)?;
    let (id, secret) = node.add_token(&caller, &document.name, scopes.clone(), ttl_ms).await?;
    let answer = json!({ "id": id, "name": document.name, "scopes": scopes, "token": secret.reveal() });
    Ok((StatusCode::CREATED, Json(answer)))
}

/// `DELETE /v1/tokens/{id}`.
pub async fn remove_token(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<StatusCode, Problem> {
    node.remove_token(&caller, &path::segment(uri.path(), 2)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/users`.
pub async fn list_users(State(node): State<Node>) -> Json<Value> {
    std::future::ready(Json(json!({ "users": node.users() }))).await
}

/// `PUT /v1/users/{name}`. Without a password the one there is stays; a new user then signs in with links only. Without
/// scopes those there are stay; there must be such a user then.
pub async fn put_user(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let (parts, body) = request.into_parts();
    let name = path::segment(parts.uri.path(), 2)?;
    let document: UserDocument = body::document(&node, &parts.headers, body).await?;
    let scopes = document.scopes.map(check_scopes).transpose()?;
    let made = match (document.password.map(Redacted::new), scopes) {
        (Some(password), Some(scopes)) => node.put_user(&caller, &name, password, scopes).await?,
        (None, Some(scopes)) => node.set_scopes(&caller, &name, scopes).await?,
        (Some(password), None) => {
            node.set_password(&caller, &name, password).await?;
            false
        }
        (None, None) => {
            let detail = "name a password, scopes, or both; nothing was changed";
            return Err(Problem::unprocessable("out_of_range", detail.to_owned()));
        }
    };
    let scopes = node.state().users.get(&name).map(|user| user.scopes.clone()).unwrap_or_default();
    let status = if made { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(json!({ "name": name, "scopes": scopes }))))
}

/// `DELETE /v1/users/{name}`.
pub async fn remove_user(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<StatusCode, Problem> {
    node.remove_user(&caller, &path::segment(uri.path(), 2)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/users/me/password`: for whoever is signed in with a session, which the answer replaces.
pub async fn change_own_password(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let document: PasswordDocument = body::document(&node, &parts.headers, body).await?;
    let (current, new) = (Redacted::new(document.current), Redacted::new(document.new));
    let session = node.change_own_password(&caller, current, new).await?;
    let cookie = cookie::set(&session, peer.is_tls(), node.who().cluster);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// `POST /v1/sign-in-links`.
pub async fn make_link(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let (parts, body) = request.into_parts();
    let document: LinkDocument = body::document(&node, &parts.headers, body).await?;
    let ttl_ms = document.ttl.as_deref().map(|ttl| query::ttl_ms("ttl", ttl)).transpose()?;
    let ttl = ttl_ms.map_or(SIGN_IN_LINK_TTL, Duration::from_millis);
    if ttl > SIGN_IN_LINK_TTL_MAX {
        let hours = SIGN_IN_LINK_TTL_MAX.as_secs() / 3600;
        let detail = format!("ttl: a sign-in link is good for {hours}h at most; nothing was changed");
        return Err(Problem::unprocessable("out_of_range", detail));
    }
    let link = node.make_link(&caller, &document.user, ttl).await?;
    let path = format!("/sign-in/link/{}", link.code.reveal());
    Ok((StatusCode::CREATED, Json(json!({ "path": path, "expires": time::rfc3339(link.expires_ms) }))))
}

/// `GET /v1/claim-code`.
pub async fn claim_code(State(node): State<Node>) -> Result<Json<Value>, Problem> {
    let code = node.claim_code()?;
    std::future::ready(Ok(Json(json!({ "code": code.as_ref().map(Redacted::reveal) })))).await
}
