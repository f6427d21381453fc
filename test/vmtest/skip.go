// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"errors"
	"os"
	"testing"
)

// RequireEnv names the environment variable that turns a skipped VM test into
// a failed one.
const RequireEnv = "REFLEX_REQUIRE_VM"

// SkipUnlessRequired ends the test when err is not nil: a skip where QEMU or
// the kernel is absent, a failure for anything else or when RequireEnv is 1.
func SkipUnlessRequired(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	absent := errors.Is(err, ErrNoQEMU) || errors.Is(err, ErrNoKernel)
	if absent && os.Getenv(RequireEnv) != "1" {
		t.Skipf("virtual machine not available: %v", err)
	}
	t.Fatal(err)
}
