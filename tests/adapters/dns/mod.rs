//! The dns adapter, driven through the port: every scenario on the sandbox's name servers and on BIND, with the same assertions.
//!
//! [`oracle`] asks and changes with messages of its own, never through the adapter. [`rig`] has the servers, and a [`proxy`] between the adapter and
//! the primary that interferes when an update comes. [`doubt`] is what an update leaves that nobody answered, [`program`] what a killed run
//! leaves. [`back`] takes a change back in a later run. [`hosts`] asks web services by these name servers. [`words`] holds the double's answers against BIND's, [`cloudflare`] and [`digitalocean`] are providers with an API.

mod back;
mod cloudflare;
mod digitalocean;
mod doubt;
mod expect;
mod hosts;
mod keys;
mod oracle;
mod point;
mod program;
mod proxy;
mod rig;
mod words;

/// Runs every scenario on a set of servers.
macro_rules! scenarios {
    ($rig:expr => $($part:ident: $($name:ident),+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$part::$name($rig.await).await;
            }
        )+)+
    };
}

macro_rules! all_scenarios {
    ($rig:expr) => {
        scenarios! { $rig =>
            point:
                an_alias_is_moved_and_brought_back_with_its_ttl,
                a_record_that_was_not_there_goes_again,
                sets_of_addresses_and_texts_are_sets,
                a_text_comes_back_cut_as_it_was,
                a_set_that_is_too_long_for_a_datagram_is_read_whole,
                a_ttl_alone_is_a_change,
                a_name_under_a_wildcard_gets_a_record_of_its_own,
                a_way_back_tells_which_servers_lag,
                what_somebody_else_changed_is_left_alone,
                the_server_itself_compares,
                an_undo_takes_back_only_what_this_step_wrote,
                what_may_not_stand_there_is_refused_before,
                what_the_server_leaves_out_is_noticed_although_it_says_noerror,
                every_authoritative_server_must_have_it;
            back:
                a_server_that_lags_or_is_down_holds_no_revert_up,
                what_somebody_has_put_back_by_hand_is_as_before;
            expect:
                what_all_servers_say_is_compared,
                a_ttl_is_held_against_its_bound,
                the_time_that_caches_need_is_told_within_two_seconds,
                caches_are_expired_when_the_former_ttl_has_passed,
                a_second_change_does_not_shorten_the_wait_for_the_first,
                a_plan_knows_what_it_will_write;
            keys:
                a_wrong_key_is_one_clear_message,
                a_server_that_takes_no_updates_says_so;
            doubt:
                a_lost_answer_is_looked_for_before_anything_is_sent_again,
                an_answer_that_the_key_has_not_signed_proves_nothing,
                what_is_there_in_the_end_decides_and_not_the_answer,
                a_name_server_that_hangs_leaves_time_for_the_change,
                servers_are_reached_past_those_that_are_silent,
                an_update_that_never_came_is_sent_again,
                a_server_that_is_gone_was_sent_nothing;
            hosts:
                a_moved_name_leads_to_the_other_service_at_once;
            words:
                answers_are_those_of_a_real_server;
        }
    };
}

mod on_the_double {
    all_scenarios!(super::rig::Rig::double());
}

mod on_bind {
    all_scenarios!(super::rig::Rig::bind());
}
