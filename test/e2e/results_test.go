// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestResultsOfAGuestAreReadPerTest(t *testing.T) {
	got := parseResults(strings.NewReader(`=== RUN   TestA
=== RUN   TestA/first
    a_test.go:7: said
=== RUN   TestA/second
--- FAIL: TestA (1.00s)
    --- PASS: TestA/first (0.50s)
    --- FAIL: TestA/second (0.50s)
        a_test.go:9: wrong
=== RUN   TestB
--- SKIP: TestB (0.00s)
=== RUN   TestC
panic: test timed out
`))
	require.Len(t, got, 5)
	verdicts := map[string]string{}
	for _, r := range got {
		verdicts[r.name] = r.verdict
	}
	assert.Equal(t, map[string]string{"TestA": "FAIL", "TestA/first": "PASS", "TestA/second": "FAIL", "TestB": "SKIP", "TestC": ""}, verdicts)
	assert.Contains(t, got[2].output, "        a_test.go:9: wrong")
	assert.Contains(t, got[4].output, "panic: test timed out")
}
