// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
)

// export sends one record with an id and a reason, and returns the answer's code, 0 for
// none within patience, -1 for a mistake.
func export(t *testing.T, b *Backend, id, reason string, patience time.Duration) int {
	t.Helper()
	logs := plog.NewLogs()
	r := logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	r.Attributes().PutStr("reflex.record.id", id)
	r.Attributes().PutStr("reflex.reason", reason)
	body, err := plogotlp.NewExportRequestFromLogs(logs).MarshalProto()
	if err != nil {
		return -1
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+b.Address+"/v1/logs", bytes.NewReader(body))
	if err != nil {
		return -1
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

// A backend that says that it has accepted what it has not kept, or does not see that a
// record is another than before, would find every outage harmless.
func TestTheBackendKeepsWhatItAcceptsAndSeesWhatIsAltered(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b := Serve(listener)
	defer b.Close()

	require.Equal(t, 200, export(t, b, "a-1", "it grows", time.Second))
	require.Equal(t, 200, export(t, b, "a-1", "it grows", time.Second))
	assert.Equal(t, 2, b.Records()["a-1"].Copies)
	assert.False(t, b.Records()["a-1"].Altered)
	require.Equal(t, 200, export(t, b, "a-1", "it shrinks", time.Second))
	assert.True(t, b.Records()["a-1"].Altered)

	b.Refuse(429)
	require.Equal(t, 429, export(t, b, "a-2", "", time.Second))
	b.Answer()
	b.Hang()
	waits := make(chan int)
	go func() { waits <- export(t, b, "a-3", "", 10*time.Second) }()
	assert.Zero(t, export(t, b, "a-4", "", time.Second), "no answer")
	b.Answer()
	assert.Zero(t, <-waits, "nor afterwards: nothing was kept")
	b.Cut()
	b.Leave()
	assert.Zero(t, export(t, b, "a-5", "", time.Second), "nobody listens")
	assert.Len(t, b.Records(), 1)

	again, err := net.Listen("tcp", b.Address)
	require.NoError(t, err)
	b.Return(again)
	require.Equal(t, 200, export(t, b, "a-6", "", time.Second))
	assert.Len(t, b.Records(), 2, "with what it had")
}
