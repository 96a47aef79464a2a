"""What errors are called in Japanese; in English each class says it itself.

What is wrong in the case at hand (``detail``) is told in English: it names ids, settings and values.

Source: contract, section 6.
"""

from __future__ import annotations

from pyoco_server import errors
from pyoco_server.errors import GatewayRefused, PyocoServerError

#: By class; one that is not named here is called as the class that it derives from.
JAPANESE: dict[type[PyocoServerError], str] = {
    errors.PyocoServerError: "エラーが発生しました。",
    errors.InvalidInput: "入力が正しくありません。",
    errors.WorkflowInvalid: "ワークフローファイルが正しくありません。",
    errors.InvalidListQuery: "一覧の条件が正しくありません。",
    errors.InvalidWorkersRequest: "ワーカーについての要求が正しくありません。",
    errors.IdempotencyKeyReused: "この冪等キーは、すでに別の要求に使われています。",
    errors.WheelInvalid: "wheel が正しくありません。",
    errors.TooLarge: "要求が大きすぎます。",
    errors.WorkflowTooLarge: "ワークフローファイルが大きすぎます。",
    errors.SnapshotTooLarge: "実行のスナップショットが大きすぎます。",
    errors.ForeignOrigin: "このダッシュボードのページから送られたフォームではありません。",
    errors.RunNotFound: "その実行は見つかりません。",
    errors.WheelNotFound: "その wheel は見つかりません。",
    errors.WheelConflict: "同じバージョンか、より新しいバージョンがすでに登録されています。",
    errors.WheelSyncFailed: "wheel をインストールできません。",
    errors.ArtifactNotFound: "その成果物は見つからないか、保存期間を過ぎています。",
    errors.DeadLetterNotFound: "そのデッドレターは見つかりません。",
    errors.CannotRunAgain: "この実行は、残っている情報からは再実行できません。",
    errors.CannotDrain: "このワーカーにはドレインを要求できません。",
    errors.ThreadDied: "ゲートウェイまたはワーカーのスレッドの1つが停止しました。",
    errors.WorkerClosed: "このワーカーはすでに閉じられています。",
    errors.ApiKeyMissing: "API キーが必要です。",
    errors.ApiKeyInvalid: "この API キーは受け付けられません。",
    errors.ApiKeyReadOnly: "この API キーは読み取り専用です。",
    errors.WorkerNotFound: "そのワーカーは見つかりません。",
    errors.InvalidJob: "キューのジョブを読み取れません。",
    errors.FlowNotFound: "ワーカーがフローを解決できません。",
    errors.NotAllowed: "このワーカーで実行を許可されていないタスクです。",
    errors.Unavailable: "現在、応答できません。",
    errors.BusUnavailable: "NATS が応答しません。",
    errors.SignInRefused: "NATS がサインインを拒否しました。",
    errors.BusDenied: "NATS がこのユーザーに許可していない操作です。",
    errors.SubmissionUncertain: "実行は受け付けられた可能性があります。再度投入する前に、その ID で確認してください。",
    errors.ReadModelLoading: "実行の一覧を読み込んでいます。",
    errors.TooManyWatches: "同時に監視できる数の上限に達しています。",
    errors.KeysUnknown: "現在、API キーを確認できません。",
    errors.TooManyKeyChecks: "確認を待つ API キーが多すぎます。",
    errors.BusError: "NATS が要求を拒否しました。",
    errors.GatewayUnreachable: "ゲートウェイに接続できません。",
    errors.GatewayRefused: "ゲートウェイがエラーを返しました。",
    errors.RunsRefused: "ゲートウェイが一部の実行を拒否しました。",
    errors.CancelNotFinished: "キャンセルした実行が、時間内に終わりませんでした。",
    errors.RunNotCompleted: "実行が COMPLETED になりませんでした。",
    errors.InvalidCommand: "コマンドの指定が正しくありません。",
    errors.InvalidSetting: "設定が正しくありません。",
}


def title_of(error: PyocoServerError, lang: str) -> str:
    """Give what an error is called; one that a gateway answered as the gateway calls it, by its id."""
    kind = type(error)
    if isinstance(error, GatewayRefused):
        kind = next((known for known in JAPANESE if known.err_id == error.problem.get("err_id", "")), kind)
    return title(kind, lang)


def title(kind: type[PyocoServerError], lang: str) -> str:
    """Give what an error of this class is called.

    :param lang: ``ja``; every other one is English.
    """
    if lang != "ja":
        return kind.title()
    return next(JAPANESE[base] for base in kind.__mro__ if base in JAPANESE)
