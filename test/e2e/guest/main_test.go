// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	PlayRole()
	if os.Getenv("REFLEX_E2E") != "1" {
		fmt.Println("these tests run inside the virtual machine of package e2e only")
		return
	}
	os.Exit(m.Run())
}
