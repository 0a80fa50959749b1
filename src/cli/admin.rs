//! `ringfort token`, `ringfort user` and `ringfort claim-code`.

use std::path::PathBuf;

use clap::Subcommand;
use hyper::Method;
use serde_json::Value;
use serde_json::json;

use crate::base::exit::Exit;
use crate::cli::client::Client;
use crate::cli::client::escape;
use crate::cli::output;
use crate::cli::output::Done;
use crate::cli::output::Failure;
use crate::cli::prompt;
use crate::cli::secret;

/// `ringfort token`.
#[derive(Subcommand, Debug)]
pub enum TokenCommand {
    /// Make a token and print it, this once
    Create {
        /// Its name for people
        name: String,
        /// What it opens: device:read, device:write, data, operate, support, admin
        #[arg(long = "scope", required = true, value_delimiter = ',')]
        scopes: Vec<String>,
        /// How long it is valid, such as 90d [default: for ever]
        #[arg(long)]
        ttl: Option<String>,
    },
    /// List all tokens, without their secrets
    Ls,
    /// Remove a token by number or name
    Rm {
        /// Number or name
        token: String,
    },
}

/// `ringfort user`.
#[derive(Subcommand, Debug)]
pub enum UserCommand {
    /// Add a user; the password is read from a file, standard input or a prompt
    Add {
        /// The name
        name: String,
        /// What the user may do
        #[arg(long = "scope", default_value = "admin", value_delimiter = ',')]
        scopes: Vec<String>,
        /// A file whose first line is the password
        #[arg(long)]
        password_file: Option<PathBuf>,
        /// Without a password: the user signs in with `ringfort user link` only
        #[arg(long, conflicts_with = "password_file")]
        no_password: bool,
    },
    /// List all users
    Ls,
    /// Remove a user
    Rm {
        /// The name
        name: String,
    },
    /// Give a user a new password
    Passwd {
        /// The name
        name: String,
        /// A file whose first line is the password
        #[arg(long)]
        password_file: Option<PathBuf>,
    },
    /// Print a link that signs a user in, once
    Link {
        /// The name
        name: String,
        /// How long it is good, such as 15m, 24h at most
        #[arg(long, default_value = "15m")]
        ttl: String,
    },
}

/// Runs `ringfort token`.
///
/// # Errors
/// Of the node or the way to it.
pub async fn token(client: &Client, command: &TokenCommand, as_json: bool) -> Done {
    match command {
        TokenCommand::Create { name, scopes, ttl } => {
            let document = json!({ "name": name, "scopes": scopes, "ttl": ttl });
            let made = client.tell(Method::POST, "/v1/tokens", &document).await?;
            if as_json {
                output::json(&made);
            } else {
                output::line(made.get("token").and_then(Value::as_str).unwrap_or_default());
                output::note("this token is shown once and kept nowhere; store it now");
            }
        }
        TokenCommand::Ls => {
            let all = client.ask(Method::GET, "/v1/tokens").await?;
            list(&all, "tokens", &["id", "name", "scopes", "made", "expires"], as_json);
        }
        TokenCommand::Rm { token } => {
            client.ask(Method::DELETE, &format!("/v1/tokens/{}", escape(token.as_bytes()))).await?;
            output::note(format_args!("token {token} is removed"));
        }
    }
    Ok(())
}

/// Runs `ringfort user`.
///
/// # Errors
/// Of the node or the way to it.
pub async fn user(client: &Client, command: &UserCommand, as_json: bool) -> Done {
    match command {
        UserCommand::Add { name, scopes, password_file, no_password } => {
            let users = client.ask(Method::GET, "/v1/users").await?;
            let mut known = users.get("users").and_then(Value::as_array).into_iter().flatten();
            if known.any(|user| user.get("name").and_then(Value::as_str) == Some(name)) {
                let way = "`ringfort user passwd` gives it another password";
                return Err(Failure::new(
                    Exit::Usage,
                    format!("there is a user `{name}` already; {way}; nothing was changed"),
                ));
            }
            let password = (!no_password).then(|| read_password(password_file.as_ref())).transpose()?;
            let document = json!({ "password": password, "scopes": scopes });
            client.tell(Method::PUT, &path(name), &document).await?;
            output::note(format_args!("user {name} is there"));
        }
        UserCommand::Passwd { name, password_file } => {
            let document = json!({ "password": read_password(password_file.as_ref())? });
            client.tell(Method::PUT, &path(name), &document).await?;
            output::note(format_args!("user {name} has a new password"));
        }
        UserCommand::Ls => {
            let all = client.ask(Method::GET, "/v1/users").await?;
            list(&all, "users", &["name", "scopes", "made", "password", "sessions"], as_json);
        }
        UserCommand::Rm { name } => {
            client.ask(Method::DELETE, &path(name)).await?;
            output::note(format_args!("user {name} is removed"));
        }
        UserCommand::Link { name, ttl } => link(client, name, ttl, as_json).await?,
    }
    Ok(())
}

/// A link to where the node listens first.
async fn link(client: &Client, name: &str, ttl: &str, as_json: bool) -> Done {
    let wish = json!({ "user": name, "ttl": ttl });
    let made = client.tell(Method::POST, "/v1/sign-in-links", &wish).await?;
    let status = client.ask(Method::GET, "/v1/status").await?;
    let text = |document: &Value, at: &str| document.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    let url = text(&status, "/addresses/0") + &text(&made, "/path");
    let expires = text(&made, "/expires");
    if as_json {
        output::json(&json!({ "url": url, "expires": expires }));
    } else {
        output::line(url);
        output::note(format_args!("this link signs in as {name} once, until {expires}"));
    }
    Ok(())
}

/// Runs `ringfort claim-code`.
///
/// # Errors
/// Of the node or the way to it; [`Exit::NoInput`] where there is a user already.
pub async fn claim_code(client: &Client, as_json: bool) -> Done {
    let document = client.ask(Method::GET, "/v1/claim-code").await?;
    if as_json {
        output::json(&document);
        return Ok(());
    }
    let Some(code) = document.get("code").and_then(Value::as_str) else {
        let message = "this cluster has a user already, so there is no code; `ringfort user link NAME` signs one in";
        return Err(Failure::new(Exit::NoInput, message));
    };
    output::line(code);
    output::note("open the console in a browser and enter it there to make the first user");
    Ok(())
}

fn path(name: &str) -> String {
    format!("/v1/users/{}", escape(name.as_bytes()))
}

/// Never from an argument: those are readable by every process of the machine.
fn read_password(file: Option<&PathBuf>) -> Result<String, Failure> {
    let line = match file {
        Some(path) => secret::read(path)?.reveal().clone(),
        None => prompt::new_password()?,
    };
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

fn list(document: &Value, name: &str, columns: &[&str], as_json: bool) {
    if as_json {
        output::json(document);
        return;
    }
    let cell = |row: &Value, column: &str| match row.get(column) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let mut rows = vec![columns.iter().map(|column| column.to_uppercase()).collect::<Vec<_>>()];
    for row in document.get(name).and_then(Value::as_array).into_iter().flatten() {
        rows.push(columns.iter().map(|column| cell(row, column)).collect());
    }
    output::table(&rows);
}
