// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the distribution as it is shipped: it boots a virtual
// machine per kernel, runs the scenarios of package guest in it against the real
// binaries, and reports each of them as a subtest.
//
// The binaries are taken from the directory that REFLEX_DIST names (make sets
// it), from ../../dist if that is newer than every source file, and are built
// otherwise. What the scenarios leave in the guest's /out (logs of every process,
// configurations, numbers) is kept when a scenario failed, or in REFLEX_E2E_KEEP.
package e2e
