"""What the columns of other systems are called, and what this program would call the field: headers in Chinese and English,
some in German, French and Spanish.

A name is compared without case, spaces and punctuation; the longest known name that ends a header also counts ("Mailing
City" is a city).
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple


class Meaning(NamedTuple):
    """What a header means: the field's name, the type that its values should have ("" for text), and how sure (0 to 1)."""

    field: str
    type: str
    confidence: float


_KNOWN = """
id: id, record id, external id, uid, uuid, guid, contact id, customer id, account id, lead id, 编号, 客户编号,
    联系人编号, 客户id, 序号, 代码, 客户代码, nr, nummer, kundennummer, numero
name: name, full name, display name, contact name, contact, fn, 姓名, 名称, 联系人, 联系人姓名, 客户姓名, 名字,
    nombre, nom complet
first_name: first name, firstname, given name, forename, givenname, 名, vorname, prenom, prénom
last_name: last name, lastname, surname, family name, familyname, 姓, 姓氏, nachname, apellido, apellidos,
    nom de famille
salutation: salutation, prefix, mr mrs, 称呼, 称谓, anrede
title: title, job title, position, role, function, job position, 职位, 职务, 头衔, 岗位, funktion, puesto,
    fonction
department: department, dept, division, 部门, 科室, abteilung, departamento
company: company, company name, account, account name, organization, organisation, org, employer, firm, 公司,
    公司名称, 单位, 单位名称, 企业, 企业名称, 客户名称, 客户, firma, unternehmen, empresa, entreprise, société
email (email): email, e mail, mail, email address, e mail address, emailaddress, 邮箱, 电子邮箱, 电子邮件, 邮件,
    邮件地址, 邮箱地址, mailadresse, correo, courriel
mobile (phone): mobile, mobile phone, cell, cell phone, cellphone, mobile number, 手机, 手机号, 手机号码,
    移动电话, handy, mobil, movil, móvil, portable
phone (phone): phone, telephone, tel, phone number, work phone, business phone, office phone, 电话, 电话号码,
    联系电话, 座机, 固定电话, 办公电话, telefon, teléfono, telefono, téléphone
fax (phone): fax, fax number, 传真, 传真号码
website: website, web, url, homepage, web site, 网站, 网址, 公司网址, 主页, webseite
address: address, full address, 地址, 详细地址, 联系地址, 通讯地址, 公司地址, 住址, adresse, anschrift,
    dirección
street: street, street address, address line 1, address 1, 街道, strasse, straße, calle, rue
city: city, town, 城市, 市, 所在城市, ort, stadt, ciudad, ville
state: state, province, region, county, 省, 省份, 州, 所在省份, bundesland, provincia
postcode: zip, zip code, zipcode, postcode, postal code, 邮编, 邮政编码, plz, postleitzahl, código postal,
    code postal
country: country, nation, country code, 国家, 国别, 国家地区, land, país, pays
birthday (date): birthday, birthdate, date of birth, dob, bday, born, 生日, 出生日期, 出生年月, geburtsdatum,
    geburtstag, fecha de nacimiento, date de naissance
gender: gender, sex, 性别, geschlecht, sexo, sexe
industry: industry, sector, branch, 行业, 所属行业, branche
employees (integer): employees, number of employees, headcount, staff, 员工数, 人数, 员工人数, mitarbeiter
revenue (number): revenue, annual revenue, turnover, 年收入, 营业额, 年营业额, umsatz
amount (number): amount, total, sum, price, value, deal value, 金额, 总额, 合同金额, 价格, 单价, betrag,
    importe, montant
currency: currency, 币种, 货币, währung, moneda, devise
stage: stage, deal stage, sales stage, pipeline stage, 阶段, 销售阶段, 商机阶段
status: status, state of lead, lead status, 状态, 客户状态, estado, statut
type: type, category, kind, 类型, 客户类型, 类别, 分类, typ, tipo
source: source, lead source, channel, origin, 来源, 客户来源, 渠道, quelle
owner: owner, assigned to, salesperson, account owner, contact owner, sales rep, 负责人, 业务员, 销售, 销售员,
    所属人, 跟进人
tags: tags, tag, labels, categories, 标签, 客户标签, etiquetas
note: note, notes, comment, comments, description, remark, remarks, memo, 备注, 说明, 描述, 备注信息, bemerkung,
    notiz, notas
tax_id: tax id, vat, vat number, vat id, 税号, 纳税人识别号, 统一社会信用代码, ust id, nif, siret
wechat: wechat, weixin, wechat id, 微信, 微信号
qq: qq, qq号, qq号码
created (datetime): created, created at, create date, created date, created on, creation date, 创建时间,
    创建日期, 录入时间, 建立时间, erstellt, creado
modified (datetime): modified, updated, updated at, last modified, last modified date, modified at, write date,
    更新时间, 修改时间, 最后修改时间, 更新日期, geändert
date (date): date, day, close date, order date, 日期, 下单日期, 签约日期, datum, fecha
active (boolean): active, enabled, is active, 是否启用, 启用, 有效, 是否有效, aktiv, activo
"""
"""The field (and its type): what it is called."""


def plain(header: str) -> str:
    """A header without case, accents of spelling, spaces and punctuation; camelCase becomes words first."""
    text = unicodedata.normalize("NFKC", header)
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return re.sub(r"[\W_]+", " ", text).strip().casefold()


def _read(text: str) -> dict[str, tuple[str, str]]:
    names = {}
    for line in re.sub(r"\n\s+", " ", text.strip()).split("\n"):
        head, _, others = line.partition(": ")
        field, _, kind = head.partition(" (")
        for name in others.split(", "):
            names[plain(name)] = (field, kind.rstrip(")"))
    return names


_NAMES = _read(_KNOWN)
_SQUEEZED = {name.replace(" ", ""): meaning for name, meaning in _NAMES.items()}


def meaning(header: str) -> Meaning | None:
    """What a header means; None if nobody calls anything so."""
    name = plain(header)
    found = _SQUEEZED.get(name.replace(" ", ""))
    if found:
        return Meaning(*found, 1.0)
    words = name.split(" ")
    for size in range(len(words) - 1, 0, -1):
        found = _NAMES.get(" ".join(words[-size:]))
        if found:
            return Meaning(*found, 0.6)
    without = re.sub(r"\([^)]*\)|（[^）]*）|\*", "", header)
    if without.strip() and without != header:
        known = meaning(without)
        return known and known._replace(confidence=known.confidence * 0.9)
    if not name.isascii():
        for size in range(len(name) - 1, 1, -1):
            found = _SQUEEZED.get(name[-size:])
            if found:
                return Meaning(*found, 0.5)
    return None


def field_name(header: str, taken: set[str]) -> str:
    """A name for the column of a table: letters, digits and _ of the header, not one of those taken (in small letters)."""
    base = re.sub(r"\W+", "_", plain(header)).strip("_")[:60] or "column"
    if base[0].isdigit():
        base = f"c_{base}"
    name, number = base, 2
    while name.casefold() in taken:
        name, number = f"{base}_{number}", number + 1
    return name
