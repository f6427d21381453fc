// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package skips knows which tests are skipped where, so that a skip is never
// mistaken for a pass: what the machine of continuous integration cannot run must
// pass in a guest (package vmtest), and what a guest cannot run must pass there.
//
// The package promises that every other skip is an error. Its data's next stop is
// the exit code of make test-unit, with REFLEX_NO_SKIPS set, and of make test-vm.
package skips
