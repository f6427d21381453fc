// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"flag"
	"os"
	"testing"

	stage "github.com/otelcol-reflex/reflex/test/e2e/guest"
)

// inGuest is what runs in the virtual machine of package outage only, because it leaks. The
// instruments are tested everywhere.
const inGuest = "^TestOutages$"

func TestMain(m *testing.M) {
	stage.PlayRole()
	flag.Parse()
	if os.Getenv("REFLEX_OUTAGE") != "1" {
		if err := flag.Set("test.skip", inGuest); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
