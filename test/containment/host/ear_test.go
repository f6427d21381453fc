// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWhatAFaultedMachineToldIsVoid(t *testing.T) {
	var said []string
	e := &ear{say: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }}
	for _, line := range []string{
		`{"containment":"start"}`,
		`{"containment":"trial","trial":{"scenario":"leak"}}`,
		`vmtest: the emulated machine faulted (int3); booting once more`,
		`{"containment":"start"}`,
		`{"containment":"note","text":"learning"}`,
		`{"containment":"trial","trial":{"scenario":"cpu"}}`,
	} {
		// In pieces, as it comes.
		_, _ = e.Write([]byte(line[:5]))
		_, _ = e.Write([]byte(line[5:] + "\n"))
	}
	assert.Len(t, e.trials, 1)
	assert.Equal(t, "cpu", e.trials[0].Scenario)
	assert.Len(t, e.notices, 1)
	assert.Equal(t, []string{"vmtest: the emulated machine faulted (int3); booting once more", "learning"}, said)
}

func TestTheReasonOfAnEarlyEndIsKept(t *testing.T) {
	e := &ear{say: func(string, ...any) {}}
	_, _ = e.Write([]byte("{\"containment\":\"error\",\"text\":\"no disk\"}\nlast words\n"))
	assert.Equal(t, "no disk", e.failure)
	assert.Equal(t, "last words", e.last)
}
