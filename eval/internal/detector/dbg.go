package detector

import (
	"fmt"
	"os"
)

func (d *reflex) debug(row int64) {
	if os.Getenv("DBG") == "" {
		return
	}
	fmt.Fprintln(os.Stderr, "DBG", row/1e9, d.detector.Debug(), fmt.Sprintf("score %.1f limit %.1f anom %v frozen %v acc %v", d.verdict.Score, d.verdict.Limit, d.verdict.Anomalous, d.verdict.Frozen, d.verdict.Accepted))
}
