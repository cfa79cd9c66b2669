//! Every transcript as a test of its own, so that its name shows.

use super::{files, play};

macro_rules! transcripts {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            if let Err(fault) = play(stringify!($name)) {
                panic!("{fault}");
            }
        })*

        #[test]
        fn every_transcript_is_listed() {
            let mut listed = vec![$(stringify!($name)),*];
            listed.sort_unstable();
            assert_eq!(listed, files());
        }
    };
}

transcripts! {
    a_batch_is_refused
    a_body_has_a_largest_size
    a_body_may_take_30_seconds
    a_body_must_be_utf_8
    a_body_that_is_not_a_message_is_answered_invalid_request
    a_body_that_is_not_json_is_answered_parse_error
    a_call_for_json_ends_after_5_minutes
    a_call_in_flight_keeps_a_session
    a_cancellation_of_no_call_is_dropped
    a_cancellation_of_two_calls_is_dropped
    a_cancelled_call_ends_after_2_seconds
    a_cancelled_call_for_json_ends_after_2_seconds
    a_cancelled_call_is_cancelled_at_the_child
    a_child_can_take_its_question_back
    a_child_killed_by_a_signal_says_so
    a_child_that_does_not_read_is_told_as_503
    a_child_that_ends_before_it_answers_initialize_is_told_as_503
    a_child_that_ends_ends_its_session
    a_child_that_refuses_initialize_opens_no_session
    a_child_that_stays_is_ended_by_signals
    a_client_that_leaves_during_initialize_leaves_no_child
    a_deleted_session_answers_who_waits_for_json
    a_deleted_session_ends_its_streams_and_its_child
    a_finished_stream_can_be_read_again
    a_gateway_that_stops_lets_calls_finish
    a_gateway_that_stops_waits_so_long
    a_get_must_accept_event_streams
    a_line_that_is_too_long_costs_no_answer_before_it
    a_line_that_is_too_long_ends_the_only_call
    a_log_before_the_answer_to_initialize_makes_it_a_stream
    a_log_goes_with_the_only_request
    a_lost_connection_cancels_nothing
    a_member_of_the_envelope_stands_once
    a_message_nests_at_most_128_levels
    a_message_without_a_session_is_answered_400
    a_notification_is_answered_202_once_it_is_queued
    a_page_of_an_allowed_origin_may_ask_first
    a_page_of_an_allowed_origin_may_read_the_session_id
    a_ping_of_the_child_reaches_the_client
    a_post_must_accept_json_and_event_streams
    a_post_must_say_that_it_is_json
    a_question_comes_on_the_stream_of_its_call
    a_question_makes_a_plain_call_a_stream
    a_question_with_an_open_questions_id_is_refused
    a_quick_answer_is_plain_json
    a_quiet_stream_says_something_every_15_seconds
    a_resumed_stream_goes_on_live
    a_resumed_stream_has_no_other_streams_events
    a_session_has_one_get_stream
    a_session_has_so_many_calls_in_flight
    a_session_in_which_nothing_happens_ends
    a_stream_ends_after_its_answer
    a_stream_for_2025_11_25_begins_with_a_priming_event
    a_stream_has_the_fields_that_proxies_need
    a_stream_with_nothing_more_to_say_is_answered_204
    accept_is_read_as_http_says
    after_100_ms_a_stream_begins
    an_answer_for_json_is_not_kept
    an_answer_is_given_once
    an_answer_that_nobody_read_is_kept
    an_answer_to_no_question_is_not_forwarded
    an_error_about_nothing_goes_to_the_get_stream
    an_event_id_of_another_session_is_refused
    an_event_id_that_was_never_given_is_refused
    an_event_is_an_id_a_type_and_one_line_of_data
    an_id_is_a_string_or_an_integer
    an_old_stream_is_ended_for_its_client_to_come_back
    an_older_clients_request_stream_is_not_ended_early
    an_open_get_stream_keeps_a_session
    an_open_question_stops_its_calls_clock
    an_open_session_refuses_another_initialize
    an_unanswered_call_ends_after_5_minutes
    an_unanswered_question_ends_after_10_minutes
    an_unknown_agreed_revision_is_no_newer_one
    an_unknown_revision_is_answered_400
    an_unknown_session_is_answered_404
    anything_before_the_answer_begins_a_stream
    every_method_needs_a_session_that_exists
    ids_come_back_as_they_were_written
    in_json_mode_a_log_before_the_answer_to_initialize_waits_for_a_get
    in_json_mode_a_post_need_only_accept_json
    in_json_mode_a_question_goes_to_an_open_get_stream
    in_json_mode_a_question_is_refused_at_once
    in_json_mode_only_the_answer_comes
    in_json_mode_other_messages_wait_for_a_get
    initialize_is_not_cancelled
    initialize_takes_at_most_its_timeout
    initialize_with_an_unknown_session_is_answered_404
    line_ends_in_messages_become_spaces
    lines_that_are_no_messages_are_passed_over
    list_changes_go_to_the_get_stream
    list_changes_ride_a_request_where_there_is_no_get_stream
    messages_pass_as_they_were_written
    names_with_escapes_are_the_same_names
    no_progress_makes_a_call_endless
    nothing_is_served_beside_the_endpoint
    older_clients_get_no_priming_event
    one_id_in_two_calls_gives_two_answers
    one_large_answer_always_passes
    only_allowed_origins_are_served
    only_names_of_this_machine_are_served
    other_methods_are_not_allowed
    progress_comes_under_the_clients_own_token
    progress_gives_a_call_more_time
    progress_of_no_call_is_dropped
    questions_with_1_and_quoted_1_are_two
    sessions_do_not_see_each_other
    the_answer_longest_alone_is_given_up_first
    the_answer_to_initialize_may_be_a_stream
    the_get_stream_can_be_resumed
    the_get_stream_carries_no_answers
    the_newest_reader_of_a_stream_wins
    the_revision_header_is_optional_and_any_known_date_will_do
    the_session_id_comes_with_the_answer_to_initialize
    there_are_so_many_sessions
    what_a_child_writes_before_it_ends_still_arrives
    what_comes_while_nobody_listens_is_kept
    what_the_child_agreed_to_decides_about_priming
    what_was_delivered_is_kept_for_a_minute
    what_was_given_up_for_space_is_told
    with_two_requests_a_log_goes_to_the_get_stream
    with_two_requests_and_no_get_stream_a_log_goes_to_the_newer
}
