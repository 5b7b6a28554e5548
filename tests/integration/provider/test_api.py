# SPDX-License-Identifier: Apache-2.0
"""What a program sees through libcrypto and libssl: the cases of test-provider.c."""

import subprocess

import pytest

from conftest import PROGRAM

CASES = """
load_needs_no_broker parameters_are_answered_locally certificate_matches_its_key private_half_is_refused
copies_sign_like_the_first files_may_hold_more broken_files_are_refused der_is_read_too messages_are_signed
messages_come_in_parts size_is_told_locally pss_takes_numbers_and_words other_pss_is_refused pss_by_controls
digests_are_signed a_digest_info_is_signed other_digests_are_refused the_handle_verifies nobody_there_fails_fast
workers_sign_with_the_masters_key workers_exit_cleanly threads_share_a_key forks_while_threads_sign
the_programs_descriptors_are_left_alone contexts_come_and_go other_keys_are_left_alone threads_begin_at_once
order_of_providers_does_not_matter store_gives_what_is_expected store_key_signs store_refuses_bad_uris
tls_with_keys_on_both_sides
""".split()


@pytest.mark.parametrize("case", CASES)
def test_case(fake, case):
    fake.run(PROGRAM, case)


# Of a program with libcrypto and libssl linked in, which shares nothing with the libcrypto of our module.
CASES_OF_ITS_OWN_OPENSSL = """
parameters_are_answered_locally certificate_matches_its_key private_half_is_refused files_may_hold_more
messages_are_signed pss_by_controls the_handle_verifies workers_sign_with_the_masters_key workers_exit_cleanly
the_programs_descriptors_are_left_alone contexts_come_and_go other_keys_are_left_alone threads_begin_at_once
order_of_providers_does_not_matter store_key_signs tls_with_keys_on_both_sides
""".split()


def test_openssl_of_the_programs_own(fake):
    for case in CASES_OF_ITS_OWN_OPENSSL:
        fake.run(f"{PROGRAM}-static", case)


def test_all_cases_are_run():
    listed = subprocess.run([PROGRAM, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    assert listed == CASES
