// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"os"
	"testing"

	stage "github.com/otelcol-reflex/reflex/test/e2e/guest"
)

func TestMain(m *testing.M) {
	stage.PlayRole()
	if os.Getenv("REFLEX_BACKENDS") != "1" {
		fmt.Println("these tests run inside the virtual machine of package backends only")
		return
	}
	os.Exit(m.Run())
}
