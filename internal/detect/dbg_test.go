package detect
import ("testing";"time";"fmt";"github.com/otelcol-reflex/reflex/internal/arc")
func TestDbg(t *testing.T){
 n:=8
 for seed:=range uint64(24){ for _,phi:=range []float64{0,.99}{
 dims:=make([]Dimension,n); for i:=range dims{dims[i]=Free(fmt.Sprint(i))}
 d:=New(Config{Dimensions:dims,FalseAlarmInterval:6*time.Minute,Lean:true})
 p:=newProcess(seed,n,phi,false)
 var at int64; var j arc.Judgement; an:=0; acc:=0; first:=0
 for k:=1;k<=60000;k++{ at+=1e8; d.Step(Instant{Due:at,Taken:at,Interval:1e8},p.next(),arc.Control{},&j); if j.Anomalous{an++; if first==0{first=k}}; if j.Accepted{acc++}}
 s:=d.fast.charts.scale
 if an>2000 { t.Logf("seed %d phi %v an=%d acc=%d first=%d chart=%v val=%.1f q=%.1f e=%.2f seen=%.0f rarity=%.1f lim=%.2f hist %.0f rho %.3f",seed,phi,an,acc,first,d.fast.chart,d.fast.charts.value,s[d.fast.chart].q,s[d.fast.chart].e,s[0].seen,d.fast.rarity,d.limit,d.calibration.history(),d.rho)}
 }}
}
