// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	"github.com/otelcol-reflex/reflex/test/vmtest"
)

// TestHarness runs the suite's own instruments alone: it needs no distribution.
func TestHarness(t *testing.T) {
	runSuite(t, suite{name: "harness", kernel: "6.12", run: "^TestHarness"}, []vmtest.File{{Guest: "/bin/guest.test", Host: guestTests(t), Mode: 0o755}})
}
