//! Uses a running server through the Rust SDK of progenitor.
//!
//! Called by scripts/test-sdk as `drive URL PASSWORD EXPIRE`, which explains the arguments and the output.

use std::fmt::Debug;
use std::future::Future;
use std::process::exit;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{from_value, json};
use shoko_auth_sdk::types::{
    ApikeyResult, CoreAuthUser, CreateUserBody, GenerateTokenRequest, JsonPatchOperation, JsonPatchOperationOp,
    MvcProblemDetails, User,
};
use shoko_auth_sdk::{Client, Error, ResponseValue};

type Failure = Box<dyn std::error::Error>;
type Response<T> = Result<ResponseValue<T>, Error<MvcProblemDetails>>;

struct Server {
    url: String,
}

impl Server {
    fn client(&self, key: Option<&str>) -> Result<Client, Failure> {
        let key = key.map(|key| Ok::<_, Failure>(("apikey".parse()?, key.parse()?)));
        let headers = key.into_iter().collect::<Result<_, _>>()?;
        let http = reqwest::Client::builder().default_headers(headers).build()?;
        Ok(Client::new_with_client(&self.url, http))
    }

    async fn try_to_log_in(&self, password: &str, device: &str) -> Result<Response<ApikeyResult>, Failure> {
        let login = CoreAuthUser {
            user: "Default".parse()?,
            pass: password.to_owned(),
            device: device.parse()?,
        };
        Ok(self.client(None)?.api_auth_post(&login).await)
    }

    async fn log_in(&self, password: &str, device: &str) -> Result<String, Failure> {
        Ok(self
            .try_to_log_in(password, device)
            .await??
            .into_inner()
            .apikey
            .to_string())
    }

    async fn current_user(&self, key: &str) -> Result<Response<User>, Failure> {
        Ok(self.client(Some(key))?.api_v3_user_current_get().await)
    }
}

/// Returns the problem with which the server rejected a call.
fn rejected<T: Debug>(status: i32, response: Response<T>) -> Result<MvcProblemDetails, Failure> {
    match response {
        Err(Error::ErrorResponse(problem)) if problem.status == Some(status) => Ok(problem.into_inner()),
        other => Err(format!("expected {status}, got {other:?}").into()),
    }
}

fn check(condition: bool, message: impl Debug) -> Result<(), Failure> {
    if condition {
        Ok(())
    } else {
        Err(format!("{message:?}").into())
    }
}

async fn step<T>(name: &str, run: impl Future<Output = Result<T, Failure>>) -> T {
    match run.await {
        Ok(result) => {
            println!("ok      {name}");
            result
        }
        Err(error) => {
            eprintln!("FAILED  {name}: {error}");
            exit(1)
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let [_, url, password, expire] = std::env::args()
        .collect::<Vec<_>>()
        .try_into()
        .expect("URL PASSWORD EXPIRE");
    let server = Server { url };
    let laptop = step("log in", async {
        let key = server.log_in(&password, "laptop").await?;
        let user = server.current_user(&key).await??;
        check(user.username == "Default" && user.is_admin, &user)?;
        Ok(key)
    })
    .await;
    step("wrong password", async {
        rejected(401, server.try_to_log_in("not the password", "laptop").await?)
    })
    .await;
    step("validation problem", async {
        let problem = rejected(400, server.try_to_log_in(&password, " ").await?)?;
        check(problem.errors.contains_key("device"), problem.errors)
    })
    .await;
    step("same device", async {
        check(server.log_in(&password, "laptop").await? == laptop, "it is another key")
    })
    .await;
    let phone = step("second device", async {
        let key = server.log_in(&password, "phone").await?;
        check(key != laptop, "it is the same key")?;
        Ok(key)
    })
    .await;
    step("list", async {
        let keys = server.client(Some(&laptop))?.api_auth_get().await?.into_inner();
        let mut devices: Vec<_> = keys.into_iter().map(|listed| listed.device).collect();
        devices.sort();
        check(devices == ["laptop", "phone"], devices)
    })
    .await;
    // Not `DELETE /api/auth`: this SDK cannot send it without a body.
    step("revoke", async {
        server
            .client(None)?
            .api_v3_auth_invalidate_token_delete(Some(&phone))
            .await?;
        rejected(401, server.current_user(&phone).await?)
    })
    .await;
    let key = step("change password", async {
        server
            .client(Some(&laptop))?
            .api_auth_change_password_post(None, "the second password")
            .await?;
        rejected(401, server.current_user(&laptop).await?)?;
        rejected(401, server.try_to_log_in(&password, "laptop").await?)?;
        server.log_in("the second password", "laptop").await
    })
    .await;
    step("users", async {
        let client = server.client(Some(&key))?;
        let bob: CreateUserBody = from_value(json!({"Username": "bob", "Password": "bobs long password"}))?;
        let bob = u32::try_from(client.api_v3_user_post(&bob).await?.id)?.try_into()?;
        let users = client.api_v3_user_get().await?.into_inner();
        check(users.iter().any(|user| user.username == "bob"), users)?;
        let (op, path) = (JsonPatchOperationOp::Replace, "/Username".to_owned());
        let rename = vec![JsonPatchOperation {
            op,
            path,
            value: Some("rob".into()),
        }];
        let renamed = client.api_v3_user_by_user_id_patch(bob, &rename).await?.into_inner();
        check(renamed.username == "rob", renamed)?;
        client.api_v3_user_by_user_id_delete(bob).await?;
        rejected(404, client.api_v3_user_by_user_id_get(bob).await)
    })
    .await;
    step("expiry", async {
        let request = GenerateTokenRequest {
            device: "script".parse()?,
            expires: Some("1m".to_owned()),
        };
        let issued = server
            .client(Some(&key))?
            .api_v3_auth_generate_token_post(&request)
            .await?
            .into_inner();
        let expiry = issued.expires_at.ok_or("the key does not expire")?.timestamp();
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let left = expiry - i64::try_from(now)?;
        check((1..=60).contains(&left), left)?;
        let script = issued.token.to_string();
        server.current_user(&script).await??;
        std::fs::write(&expire, "")?;
        while std::path::Path::new(&expire).exists() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        rejected(401, server.current_user(&script).await?)?;
        server.current_user(&key).await??;
        Ok(())
    })
    .await;
}
