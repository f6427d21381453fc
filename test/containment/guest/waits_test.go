// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/test/stage"
)

func TestWhoHasWaitedForWhat(t *testing.T) {
	dir := t.TempDir()
	write := func(file, total string) {
		text := "some avg10=1.00 avg60=2.00 avg300=3.00 total=" + total + "\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n"
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
	}
	write("cpu.pressure", "1000000")
	write("io.pressure", "5000000")
	groups := []*stage.Cgroup{{Dir: dir}}
	before := takeWaits(groups)
	write("cpu.pressure", "2500000")
	write("io.pressure", "5010000") // a hundredth is nothing
	after := takeWaits(groups)
	before.at, after.at = 0, 2e9
	assert.Equal(t, []string{filepath.Base(dir) + " for cpu 75 %"}, after.since(before), "memory.pressure is not there")

	require.NoError(t, os.RemoveAll(dir))
	gone := takeWaits(groups)
	gone.at = 4e9
	assert.Empty(t, gone.since(after))
}
