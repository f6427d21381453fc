// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the distribution as it is shipped: it boots a virtual
// machine per kernel, runs the scenarios of package guest in it against the real
// binaries, and reports each of them as a subtest.
//
// The binaries are taken from the directory that REFLEX_DIST names (make sets it),
// and built by make otherwise; somebody else's collector is built from
// examples/drop-in as its manifest says. What the scenarios leave in the guest's
// /out (logs of every process, configurations) is kept when a scenario failed, or
// in REFLEX_E2E_KEEP. REFLEX_E2E_RUN is a pattern of the scenarios to run instead
// of all.
package e2e
