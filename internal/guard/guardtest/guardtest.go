// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package guardtest is what tests of a real guard have in common.
package guardtest

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/guard"
)

// Network returns where the cgroup v2 hierarchy is mounted, on a machine on which a
// guard can act on the network. Elsewhere the test is skipped, or fails where
// REFLEX_REQUIRE_BPF says that it must not be.
func Network(tb testing.TB) (mount string) {
	tb.Helper()
	mount, err := cgroupfs.FindRoot()
	for _, r := range guard.Missing(guard.NetworkRequirements()) {
		err = errors.Join(err, fmt.Errorf("%s: %s", r.Name, r.Cause))
	}
	if err != nil {
		if os.Getenv("REFLEX_REQUIRE_BPF") == "1" {
			tb.Fatal(err)
		}
		tb.Skip("not on cgroup v2, or without the privilege to act on the network: ", err)
	}
	return mount
}
