// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package outage

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestABrokenPromiseIsNamed(t *testing.T) {
	good := func() *Report {
		return &Report{Cases: []Case{
			{Name: Undisturbed, Expected: 9, Delivered: 9, TickToKnobP99: 20},
			{Name: "refuses", Expected: 9, Delivered: 9, Repeated: 3, TickToKnobP99: 139, Release: 5.9, TTL: 5},
		}}
	}
	assert.Empty(t, good().Broken())
	for want, change := range map[string]func(*Report){
		"8 of 9 records arrived":           func(r *Report) { r.Cases[1].Delivered, r.Cases[1].Lost = 8, 1 },
		"0 of 0 records arrived":           func(r *Report) { r.Cases[1].Delivered, r.Cases[1].Expected = 0, 0 },
		"1 records are not what they were": func(r *Report) { r.Cases[1].Altered = 1 },
		"given back after 6.10 s":          func(r *Report) { r.Cases[1].Release = 6.1 },
		"tick to knob p99 is 141.0 ms":     func(r *Report) { r.Cases[1].TickToKnobP99 = 141 },
		"refuses: it did not start":        func(r *Report) { r.Cases[1].Failures = []string{"it did not start"} },
		"no case without an outage":        func(r *Report) { r.Cases = r.Cases[1:] },
	} {
		r := good()
		change(r)
		broken := r.Broken()
		require.NotEmpty(t, broken, want)
		assert.Contains(t, strings.Join(broken, "\n"), want)
	}
}

func TestCasesOfAGuestAreReadInOrder(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "cases"), 0o755))
	for i, name := range []string{"none", "refuses"} {
		text, err := json.Marshal(Case{Name: name})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "cases", fmt.Sprintf("%02d.json", i)), text, 0o600))
	}
	cases, err := Load(dir)
	require.NoError(t, err)
	require.Len(t, cases, 2)
	r := &Report{Cases: cases}
	require.NoError(t, r.Write(filepath.Join(dir, "out")))
	var text strings.Builder
	r.Print(&text)
	assert.Contains(t, text.String(), "refuses")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cases", "02.json"), []byte("{"), 0o600))
	_, err = Load(dir)
	require.ErrorContains(t, err, "02.json")
}
