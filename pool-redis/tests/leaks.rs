//! What a user leaves on his connection, and what the next one finds: nothing of it. And whoever leaves nothing has his
//! connection kept, at no cost, as a pool that closes everything would pass the rest of this.

#![cfg(target_os = "linux")]

mod support;

use std::future::{Future, pending, poll_fn};
use std::task::Poll;
use std::time::Duration;

use pool_redis::{PooledConnection, RedisManager, RedisPool};
use redis::{Pipeline, Value};
use support::pool::{ask, builder, checkout, command, id};
use support::{RedisServer, Setup, becomes, in_time};

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The next user has it, and the server was told nothing in between.
    Kept,
    /// The next user has it, as it was at the beginning.
    SetRight,
    /// The next user has another one.
    Closed,
}

use After::{Closed, Kept, SetRight};

/// A pool of one connection, and how that is to be when its user gets it.
struct Home {
    server: RedisServer,
    pool: RedisPool,
    /// Fields of `CLIENT LIST`.
    fields: Vec<(&'static str, &'static str)>,
}

const ALWAYS: [(&str, &str); 5] = [
    ("flags", "N"),
    ("sub", "0"),
    ("psub", "0"),
    ("multi", "-1"),
    ("redir", "-1"),
];

impl Home {
    /// As by default, and with everything that can be set.
    fn both() -> Option<[Self; 2]> {
        Some([
            Self::new(
                "",
                "0",
                |manager| manager,
                &[("user", "default"), ("name", ""), ("db", "0")],
            )?,
            Self::new(
                "app:pass@",
                "3?protocol=resp3",
                |manager| manager.client_name("app"),
                &[("user", "app"), ("name", "app"), ("db", "3")],
            )?,
        ])
    }

    fn new(
        user: &str,
        path: &str,
        change: impl FnOnce(RedisManager) -> RedisManager,
        fields: &[(&'static str, &'static str)],
    ) -> Option<Self> {
        let server = Setup::default()
            .line("user app on >pass ~* &* +@all")
            .line("user other on >else ~* &* +@all")
            .start()?;
        let url = format!("redis://{user}127.0.0.1:{}/{path}", server.port());
        let manager = change(RedisManager::new(url).unwrap());
        let pool = RedisPool::new(builder(manager).max_size(1).build().unwrap());
        Some(Self {
            server,
            pool,
            fields: [fields, &ALWAYS].concat(),
        })
    }

    /// A user does something, and the next one looks.
    async fn follows(
        &self,
        what: &str,
        after: After,
        does: impl AsyncFnOnce(&mut PooledConnection),
    ) {
        let mut user = checkout(&self.pool).await;
        let first = id(&mut user).await;
        does(&mut user).await;
        let before = self.server.info("total_commands_processed");
        drop(user);

        let mut next = checkout(&self.pool).await;
        let asked = self.server.info("total_commands_processed") - before;
        let second = id(&mut next).await;
        assert_eq!(second == first, after != Closed, "{what}");
        if after == Kept {
            // The look itself is one.
            assert_eq!(asked, 1, "{what}");
        }
        self.is_fresh(what, &mut next).await;
        drop(next);
        becomes(|| self.server.clients().len(), 1).await;
    }

    /// As far as the server, and the connection's own user, can tell.
    async fn is_fresh(&self, what: &str, connection: &mut PooledConnection) {
        // Whoever still watches it is marked by this.
        self.server.ask("INCR watched");
        let db = self
            .fields
            .iter()
            .find(|(name, _)| *name == "db")
            .unwrap()
            .1;
        for key in ["watched", "k"] {
            self.server.command(&format!("SELECT {db}"));
            self.server.ask(&format!("INCR {key}"));
        }
        self.server.command("SELECT 0");
        let id = id(connection).await;
        let client = self.server.client(id).unwrap();
        for (name, expected) in &self.fields {
            assert_eq!(client.field(name), Some(*expected), "{name} after {what}");
        }
        assert_eq!(
            ask::<String>(connection, "PING").await.unwrap(),
            "PONG",
            "{what}"
        );
        let mut both = redis::pipe();
        both.atomic().cmd("SET").arg("mine").arg(id).ignore();
        both.cmd("GET").arg("mine");
        let mine: Option<(i64,)> = in_time(both.query_async(connection)).await.unwrap();
        assert_eq!(mine, Some((id,)), "{what}");
        let resp = matches!(client.field("resp"), None | Some("2"));
        let is_three: Value = ask(connection, "CONFIG GET maxclients").await.unwrap();
        assert_eq!(matches!(is_three, Value::Map(_)), !resp, "{what}");
    }
}

/// One after the other; what the server answers does not matter.
async fn one_by_one(connection: &mut PooledConnection, commands: &[&str]) {
    for text in commands {
        let _ = ask::<Value>(connection, text).await;
    }
}

fn pipeline(commands: &[&str]) -> Pipeline {
    let mut pipeline = redis::pipe();
    for text in commands {
        pipeline.add_command(command(text));
    }
    pipeline
}

/// Each as it is written, in small letters, and in both.
fn in_any_case(commands: &[&str]) -> [Vec<String>; 3] {
    let mixed = |text: &str| {
        let mut capital = false;
        text.chars()
            .map(|letter| {
                capital = !capital;
                match capital {
                    true => letter.to_ascii_uppercase(),
                    false => letter.to_ascii_lowercase(),
                }
            })
            .collect()
    };
    [
        commands.iter().map(|text| (*text).to_owned()).collect(),
        commands.iter().map(|text| text.to_lowercase()).collect(),
        commands.iter().map(|text| mixed(text)).collect(),
    ]
}

#[tokio::test]
async fn whoever_leaves_nothing_has_his_connection_kept_at_no_cost() {
    let Some(homes) = Home::both() else {
        return;
    };
    for home in &homes {
        let db = home
            .fields
            .iter()
            .find(|(name, _)| *name == "db")
            .unwrap()
            .1;
        let back = format!("SELECT {db}");
        let commands: [&[&str]; 15] = [
            &[],
            &["GET k"],
            &["SET s v", "LPUSH s v"],
            &["NO-SUCH-COMMAND"],
            &["CLIENT ID", "CLIENT GETNAME", "client list"],
            &["SELECT 5", &back],
            &["SELECT 5", "SELECT no-number", &back],
            &["WATCH watched", "UNWATCH"],
            &["WATCH watched", "MULTI", "GET k", "EXEC"],
            &["WATCH watched", "MULTI", "GET k", "DISCARD"],
            &["MULTI", "GET", "EXEC"],
            &["PUBLISH c m"],
            &["BLPOP nothing 0.01"],
            &["SCAN 0"],
            &["EVAL return(redis.call('SELECT',5)) 0"],
        ];
        for commands in commands {
            let what = commands.join(", ");
            home.follows(&what, Kept, async |user| one_by_one(user, commands).await)
                .await;
        }
        home.follows("a pipeline", Kept, async |user| {
            let both = pipeline(&["SET k 1", "GET k"]);
            let () = in_time(both.query_async(user)).await.unwrap();
        })
        .await;
        home.follows("an atomic pipeline", Kept, async |user| {
            let mut both = pipeline(&["SET k 1", "GET k"]);
            let () = in_time(both.atomic().query_async(user)).await.unwrap();
        })
        .await;
        home.follows("a transaction", Kept, async |user| {
            let counted = user.transaction("n", async |user, pipeline| {
                let now: Option<i64> = redis::cmd("GET").arg("n").query_async(user).await?;
                let next = now.unwrap_or(0) + 1;
                pipeline.cmd("SET").arg("n").arg(next).ignore();
                pipeline
                    .cmd("GET")
                    .arg("n")
                    .query_async::<Option<(i64,)>>(user)
                    .await
            });
            assert_eq!(in_time(counted).await.unwrap(), (1,));
        })
        .await;
    }
}

#[tokio::test]
async fn what_can_be_undone_is_undone_and_the_connection_kept() {
    let Some(homes) = Home::both() else {
        return;
    };
    for home in &homes {
        let db = home
            .fields
            .iter()
            .find(|(name, _)| *name == "db")
            .unwrap()
            .1;
        let back = format!("SELECT {db}");
        let commands: [&[&str]; 13] = [
            &["SELECT 5"],
            &["SELECT 5", "GET k", "SELECT 99"],
            &["WATCH watched"],
            &["WATCH watched", "GET k"],
            &["MULTI"],
            &["WATCH watched", "MULTI", "SET k v"],
            &["MULTI", "SELECT 5"],
            &["MULTI", "SELECT 5", "EXEC"],
            // What is queued has not happened.
            &["SELECT 5", "MULTI", &back],
            &["SELECT 5", "MULTI", &back, "DISCARD"],
            &["SELECT 5", "MULTI", &back, "NO-SUCH-COMMAND", "EXEC"],
            // What is refused has not happened either.
            &["WATCH watched", "EXEC"],
            &["WATCH watched", "DISCARD"],
        ];
        for commands in commands {
            for commands in in_any_case(commands) {
                let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
                let what = commands.join(", ");
                home.follows(&what, SetRight, async |user| {
                    one_by_one(user, &commands).await
                })
                .await;
                let what = format!("a pipeline of {what}");
                home.follows(&what, SetRight, async |user| {
                    let _ = in_time(pipeline(&commands).query_async::<Value>(user)).await;
                })
                .await;
            }
        }
        home.follows("SELECT in an atomic pipeline", SetRight, async |user| {
            let mut select = pipeline(&["SELECT 5"]);
            let () = in_time(select.atomic().query_async(user)).await.unwrap();
        })
        .await;
        home.follows(
            "an atomic pipeline that is refused",
            SetRight,
            async |user| {
                one_by_one(user, &["SELECT 5"]).await;
                let mut refused = pipeline(&[&back, "NO-SUCH-COMMAND"]);
                let refused = in_time(refused.atomic().query_async::<Value>(user)).await;
                refused.unwrap_err();
            },
        )
        .await;
        home.follows("a transaction whose body fails", Kept, async |user| {
            let failed = user.transaction("watched", async |_, _| {
                let error = redis::RedisError::from(std::io::Error::other("not today"));
                Err::<Option<()>, _>(error)
            });
            in_time(failed).await.unwrap_err();
        })
        .await;
    }
}

#[tokio::test]
async fn what_cannot_be_undone_closes_the_connection() {
    let Some(homes) = Home::both() else {
        return;
    };
    for home in &homes {
        let commands: [&[&str]; 17] = [
            &["SUBSCRIBE c"],
            &["PSUBSCRIBE c*"],
            &["SSUBSCRIBE c"],
            &["SUBSCRIBE c", "UNSUBSCRIBE c"],
            &["MONITOR"],
            &["AUTH other else"],
            &["HELLO 2"],
            &["HELLO 3"],
            &["HELLO 3 AUTH other else SETNAME x"],
            &["RESET"],
            &["QUIT"],
            &["CLIENT SETNAME x"],
            &["CLIENT TRACKING on BCAST"],
            &["CLIENT TRACKING on", "GET k"],
            &["CLIENT NO-EVICT on"],
            &["CLIENT TRACKING on OPTIN", "CLIENT CACHING yes"],
            &["READONLY"],
        ];
        for commands in commands {
            for commands in in_any_case(commands) {
                let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
                let what = commands.join(", ");
                let short = Duration::from_millis(200);
                home.follows(&what, Closed, async |user| {
                    for text in &commands {
                        // Some are answered in a way that redis-rs does not wait for.
                        let _ = command(text)
                            .query_async::<Value>(&mut user.limit(short))
                            .await;
                    }
                })
                .await;
                let what = format!("a pipeline of {what}");
                home.follows(&what, Closed, async |user| {
                    let pipeline = pipeline(&commands);
                    let _ = pipeline.query_async::<Value>(&mut user.limit(short)).await;
                })
                .await;
            }
        }
    }
}

#[tokio::test]
async fn whoever_turns_answers_off_keeps_them_from_nobody_else() {
    let Some(homes) = Home::both() else {
        return;
    };
    let short = Duration::from_millis(50);
    for home in &homes {
        for text in ["CLIENT REPLY OFF", "client reply skip", "Client Reply On"] {
            home.follows(text, Closed, async |user| {
                let _ = command(text).exec_async(&mut user.limit(short)).await;
            })
            .await;
            let what = format!("{text} and GET, whose answers nobody waits for");
            home.follows(&what, Closed, async |user| {
                for text in [text, "GET k"] {
                    let mut silent = command(text);
                    let () = in_time(silent.set_no_response(true).query_async(user))
                        .await
                        .unwrap();
                }
            })
            .await;
        }
        home.follows("SET, whose answer nobody waits for", Closed, async |user| {
            let mut silent = command("SET k v");
            let () = in_time(silent.set_no_response(true).query_async(user))
                .await
                .unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn whoever_gives_up_a_transaction_leaves_neither_its_keys_nor_its_queue() {
    let Some(homes) = Home::both() else {
        return;
    };
    let short = Duration::from_millis(20);
    for home in &homes {
        home.follows(
            "a transaction given up between commands",
            SetRight,
            async |user| {
                let endless = user.transaction("watched", async |_, _| {
                    pending::<redis::RedisResult<Option<()>>>().await
                });
                tokio::time::timeout(short, endless).await.unwrap_err();
            },
        )
        .await;
        home.follows(
            "a transaction given up in the middle of one",
            Closed,
            async |user| {
                let endless = user.transaction("watched", async |user, _| {
                    let popped = command("BLPOP nothing 0").query_async::<Value>(user).await;
                    popped.map(Some)
                });
                tokio::time::timeout(short, endless).await.unwrap_err();
            },
        )
        .await;
    }
}

#[tokio::test]
async fn whoever_goes_on_after_a_command_he_gave_up_still_costs_his_connection() {
    let Some(homes) = Home::both() else {
        return;
    };
    for home in &homes {
        home.follows(
            "a command given up, and another one",
            Closed,
            async |user| {
                {
                    let popped = command("BLPOP nothing 0.01");
                    let mut popping = Box::pin(popped.query_async::<Value>(user));
                    poll_fn(|cx| {
                        assert!(popping.as_mut().poll(cx).is_pending());
                        Poll::Ready(())
                    })
                    .await;
                }
                assert_eq!(ask::<String>(user, "PING").await.unwrap(), "PONG");
            },
        )
        .await;
    }
}

#[tokio::test]
async fn a_panic_costs_the_connection() {
    let Some(homes) = Home::both() else {
        return;
    };
    for home in &homes {
        let mut user = checkout(&home.pool).await;
        let first = id(&mut user).await;
        let panics = tokio::spawn(async move {
            one_by_one(&mut user, &["GET k"]).await;
            panic!("with {user:?} in hand");
        });
        assert!(panics.await.unwrap_err().is_panic());
        let mut next = checkout(&home.pool).await;
        assert_ne!(id(&mut next).await, first);
        home.is_fresh("a panic", &mut next).await;
    }
}

#[tokio::test]
async fn a_strict_pool_sets_everything_right_in_one_round_trip_whoever_was_there() {
    let Some(mut homes) = Home::both() else {
        return;
    };
    for home in &mut homes {
        let strict = home.pool.manager().clone().strict(true);
        home.pool = RedisPool::new(builder(strict).max_size(1).build().unwrap());
        becomes(|| home.server.clients().len(), 0).await;
        for commands in [
            &["GET k"][..],
            &["SELECT 5"],
            &["WATCH watched"],
            &["MULTI", "GET k"],
        ] {
            let what = commands.join(", ");
            home.follows(&what, SetRight, async |user| {
                one_by_one(user, commands).await
            })
            .await;
        }
        home.follows("AUTH", Closed, async |user| {
            one_by_one(user, &["AUTH other else"]).await
        })
        .await;
    }
}

#[tokio::test]
async fn a_connection_that_is_detached_is_its_users_for_good() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = support::pool::pool(&server, 1);
    let mut connection = checkout(&pool).await;
    let detached = id(&mut connection).await;
    ask::<()>(&mut connection, "SELECT 5").await.unwrap();
    let mut redis = PooledConnection::detach(connection).into_multiplexed();
    let mut next = checkout(&pool).await;
    assert_ne!(id(&mut next).await, detached);
    let still: i64 = in_time(command("CLIENT ID").query_async(&mut redis))
        .await
        .unwrap();
    assert_eq!(still, detached);
    assert_eq!(server.client(detached).unwrap().field("db"), Some("5"));
    drop(redis);
    becomes(|| server.clients().len(), 1).await;
}
