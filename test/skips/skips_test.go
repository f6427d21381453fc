// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package skips

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestASkipThatNobodyKnowsIsAnError(t *testing.T) {
	const known = `{"Action":"output","Package":"` + module + `bpf","Test":"TestSweepSeesSwap","Output":"needs swap\n"}
{"Action":"skip","Package":"` + module + `bpf","Test":"TestSweepSeesSwap"}
{"Action":"output","Package":"` + module + `bpf","Output":"ok  \tbpf\n"}
{"Action":"pass","Package":"` + module + `bpf"}
{"Action":"skip","Package":"` + module + `internal/nothing"}
`
	const unknown = `{"Action":"output","Package":"` + module + `internal/arc","Test":"TestSweepSeesSwap","Output":"not today\n"}
{"Action":"skip","Package":"` + module + `internal/arc","Test":"TestSweepSeesSwap"}
`
	var out strings.Builder
	require.NoError(t, Filter(strings.NewReader(known), &out))
	assert.Equal(t, "ok  \tbpf\n", out.String(), "what passes is not told in full")

	out.Reset()
	require.ErrorContains(t, Filter(strings.NewReader(known+unknown), &out), module+"internal/arc TestSweepSeesSwap")
	assert.Contains(t, out.String(), "not today", "why it was skipped")
}

func TestFailuresAreToldInFull(t *testing.T) {
	const text = `# something does not compile
{"Action":"output","Package":"p","Test":"TestA","Output":"expected 1\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"fine\n"}
{"Action":"pass","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"ImportPath":"q","Action":"build-output","Output":"q.go:1: no\n"}
`
	var out strings.Builder
	require.NoError(t, Filter(strings.NewReader(text), &out), "go test itself exits with the failure")
	assert.Equal(t, "# something does not compile\nexpected 1\nq.go:1: no\n", out.String())
}
