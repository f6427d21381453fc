// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/faultpoint"
)

// TestNothingOfTheFaultPointsIsShipped looks for them where they are not to be,
// and where they are.
func TestNothingOfTheFaultPointsIsShipped(t *testing.T) {
	for _, tags := range []string{"", "faultpoints"} {
		binary := filepath.Join(t.TempDir(), "reflexguard")
		build := exec.Command("go", "build", "-tags", tags, "-o", binary, ".") // with all its symbols
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := build.CombinedOutput()
		require.NoError(t, err, "%s", out)
		text, err := os.ReadFile(binary)
		require.NoError(t, err)
		for _, trace := range []string{faultpoint.Control, "faultpoint.Pass", "faultpoint.init", ".fired"} {
			assert.Equal(t, tags != "", bytes.Contains(text, []byte(trace)), "%q with tags %q", trace, tags)
		}
	}
}
