// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/otelcol-reflex/reflex/test/vmtest"
)

func TestWhatAFaultedMachineToldIsVoid(t *testing.T) {
	var said []string
	e := &ear{say: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }}
	out := &vmtest.Lines{Line: e.line}
	for _, line := range []string{
		`{"containment":"start"}`,
		`{"containment":"trial","trial":{"scenario":"leak"}}`,
		`vmtest: the emulated machine faulted (int3); booting once more`,
		`{"containment":"start"}`,
		`{"containment":"note","text":"learning"}`,
		`{"containment":"trial","trial":{"scenario":"cpu"}}`,
	} {
		_, _ = fmt.Fprintln(out, line)
	}
	assert.Len(t, e.trials, 1)
	assert.Equal(t, "cpu", e.trials[0].Scenario)
	assert.Len(t, e.notices, 1)
	assert.Equal(t, []string{"vmtest: the emulated machine faulted (int3); booting once more", "learning"}, said)
}

func TestTheReasonOfAnEarlyEndIsKept(t *testing.T) {
	e := &ear{say: func(string, ...any) {}}
	e.line([]byte(`{"containment":"error","text":"no disk"}`))
	e.line([]byte("last words"))
	assert.Equal(t, "no disk", e.failure)
	assert.Equal(t, "last words", e.last)
}
